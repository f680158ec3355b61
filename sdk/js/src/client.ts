import { createTopics } from "./topics.js"
import { createTokens } from "./tokens.js"
import { type AnyOptions, createSubscriber } from "./subscription.js"
import { request } from "./http.js"
import { Close } from "./retry.js"
import { createLine } from "./line.js"
import { fallback } from "./fallback.js"
import { NotifluxError } from "./error.js"
import { websocket } from "./websocket.js"
import { createCalls } from "./calls.js"
import type { End, Transport } from "./transport.js"
import type { Client, HistoryOptions, Need, Options, State } from "./types.js"

/**
 * Returns a client of the server at a URL like https://push.example.com. T maps topics to the
 * types of their data. The client connects when it is first used.
 */
export const connect = <T extends object = Record<string, unknown>>(url: string, options: Options = {}): Client<T> => {
  url = url.replace(/\/+$/, "")
  const { token = () => "" } = options
  const get: typeof fetch = options.fetch ?? fetch
  const listeners = new Set<(state: State, why?: NotifluxError) => void>()

  const log = (event: string, facts?: object) => queueMicrotask(() => options.log?.({ event, ...facts }))
  const positions = options.positions?.open(url, log)

  const line = createLine(transports(url, options, get), {
    _ifUp: (f) => get(url + "/livez").then((response) => response.ok && f()).catch(() => {}),
    _isNeeded: () => topics._size() + calls._size() > 0,
    _changed(state, end) {
      log(state, end)
      for (const f of listeners) queueMicrotask(() => f(state, end && errorOf(end, true)))
    },
    _began: () => calls._reset(),
    _frame(frame) {
      calls._receive(frame)
      topics._receive(frame)
    },
    _ended(end, wait) {
      const { code, _isRestart } = end
      if (wait === undefined) finish(errorOf(end))
      topics._cut(
        !_isRestart && { type: "disconnected", code, retryIn: wait! },
        code === Close.Revoked ? { code: "token_revoked" } : undefined,
      )
      calls._reset() // Behind the commands to subscribe, which publishes wait for.
    },
  })
  const tokens = createTokens(typeof token !== "string" ? token : token.includes("/") ? remote(token, get) : () => token, log)
  const calls = createCalls(line, tokens)
  const topics = createTopics(line, calls)

  const history = (topic: string, options: HistoryOptions = {}): Promise<any> =>
    calls._call({ type: "history", topic, since: options.since, limit: options.limit }, options)

  const finish = (error?: NotifluxError) => {
    topics._each((subscriber) => subscriber.close(error))
    calls._close()
  }

  const client: Client = {
    get state() {
      return line._state()
    },
    get connection() {
      return line._welcome()?.connection
    },
    on(f) {
      listeners.add(f)
      return () => listeners.delete(f)
    },
    subscribe(topic: string, options: AnyOptions = {}): any {
      const since = positions ? positions.get(topic, options) : options.since
      const subscriber = createSubscriber(topic, { ...options, since }, topics, history, positions)
      if (options.signal?.aborted) subscriber.close()
      else topics._join(subscriber)
      return subscriber
    },
    async publish(topic, data, { key = Math.random() + "" + Math.random(), ...options } = {}) {
      const message = JSON.parse(JSON.stringify(data ?? null)) // as it is now, for retries
      return (await calls._call({ type: "broadcast", topic, message, key }, options)).position
    },
    history,
    presence: (topic, options) => calls._call({ type: "presence", topic }, options),
    position: async (topic, options) => (await history(topic, { ...options, limit: 0 })).position,
    async close() {
      line._close()
      finish()
      positions?.close()
    },
  }
  return client as Client<T>
}

/** Returns a source of tokens from a back end. */
export const remote =
  (url: string, get: typeof fetch) =>
  async ({ signal, ...need }: Need): Promise<string | null> => {
    const response = await request(get, url, signal, need)
    if (response.ok) return (await response.text()).trim() || null
    if (response.status === 401) return null
    throw response
  }

export const errorOf = ({ code }: End, retry = false): NotifluxError => new NotifluxError("disconnected", { status: code, retry })

/** Returns the ways to connect that work here. */
const transports = (url: string, { credentials, tabs, WebSocket = globalThis.WebSocket, transports }: Options, get: typeof fetch): Transport[] => {
  // A WebSocket sends no cookies that the server reads.
  const own = !!WebSocket && credentials !== "include" && websocket(url, WebSocket)
  const ways: any = {
    websocket: own && (tabs?.share(own, url) ?? own),
    stream: fallback("stream", url, get, credentials),
    poll: fallback("poll", url, get, credentials),
  }
  const found = (transports ?? Object.keys(ways)).map((way: any) => ways[way] ?? way).filter((way) => way)
  if (!found[0]) throw new NotifluxError("unsupported")
  return found
}
