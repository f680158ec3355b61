import { request } from "./http.js"
import { later } from "./retry.js"
import type { End, Transport } from "./transport.js"

const enum Limit {
  /** How long an event stream may be silent, in milliseconds; there is a heartbeat every 15 s. */
  Silence = 20_000,
  /** How long the server waits for a message before it answers a poll, in seconds. */
  Wait = 25,
  /** How long a poll may take. */
  Poll = 45_000,
  /** How long to wait for further changes of the topics. */
  Gather = 20,
}

/**
 * Connects over HTTP, by event streams or by long polling. Topics that are added or removed
 * later need a new connection, so that one request takes all topics with the same token.
 */
export const fallback = (name: "stream" | "poll", url: string, fetch: typeof globalThis.fetch, credentials?: RequestCredentials): Transport => ({
  open({ frame, end }) {
    const over = new AbortController()
    const { signal } = over
    const isPoll = name === "poll"
    let isFollowing = false

    const close = () => over.abort()

    const fail = (why: End) => {
      if (signal.aborted) return
      close()
      end(why)
    }

    const post = (path: string, token: string | undefined, body?: object) => request(fetch, url + path, signal, body, token, credentials)

    const get = (path: string, token: string | undefined, parameters: object) =>
      post(path + "?" + new URLSearchParams(JSON.parse(JSON.stringify(parameters))), token)

    /** Follows the topics of a command. */
    const follow = async ({ token, ...command }: any) => {
      const { id, topics } = command
      let timer: ReturnType<typeof setTimeout> | undefined
      const isAlive = () => {
        clearTimeout(timer)
        timer = later(() => fail({ _isUseless: !isPoll }), isPoll ? Limit.Poll : Limit.Silence)
      }
      for (let cursor; ; ) {
        isAlive()
        const response = await post("/" + name, token, { ...command, wait: Limit.Wait })
        if (!response.ok) {
          clearTimeout(timer)
          return cursor ? fail({ _isRestart: true }) : refuse(response, id, token, topics)
        }
        if (isPoll) {
          const answer = await response.json()
          // A first answer tells more.
          if (cursor && !answer.recovered) return fail({ _isRestart: true })
          command.since = cursor = answer.cursor
          frame({ type: "hello", id, topics: answer.topics })
          for (const message of answer.messages) frame(message)
        } else {
          const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
          for (let rest = ""; ; ) {
            const { value, done } = await reader.read()
            if (done) return fail({})
            isAlive()
            const lines = (rest + value).split("\n")
            rest = lines.pop()!
            for (const line of lines) frame({ ...JSON.parse(line), id }) // The first one is the answer.
          }
        }
      }
    }

    /** Runs a command that is not about a subscription. */
    const call = async ({ type, id, token, ...members }: any) => {
      const response = await (type === "broadcast" ? post : get)("/" + type, token, members)
      if (response.ok) frame({ type, id, ...(await response.json()) })
      else await refuse(response, id)
    }

    /** Handles an answer without success, to a command about topics or another one. */
    const refuse = async (response: Response, id: number, token?: string, topics?: string[]) => {
      const { status, headers } = response
      const { code = status + "", detail: message } = await response.json().catch(() => ({}))
      const retry = status === 429 || status > 499
      const after = (+headers.get("Retry-After")! || 0) * 1000 // It may be a date.
      if (!topics) return frame({ type: "error", id, code, message, retry, after })
      if (retry || code > 0) return fail({ code, after, _isUseless: !retry })
      const refused: Record<string, object> = {}
      for (const topic of topics) {
        // The other topics may be allowed.
        if (status === 401 || !topics[1] || !(await get("/history", token, { topic, limit: 0 })).ok) refused[topic] = { code, message }
      }
      frame({ type: "subscribed", id, topics: {}, refused })
    }

    queueMicrotask(() => frame({ type: "welcome" }))
    return {
      close,
      send(command) {
        const { topics } = command
        if (isFollowing && topics) setTimeout(() => fail({ _isRestart: true }), Limit.Gather)
        else {
          if (topics) queueMicrotask(() => (isFollowing = true))
          ;(topics ? follow : call)(command).catch(() => fail({}))
        }
      },
    }
  },
})
