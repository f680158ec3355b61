import { NotifluxError } from "./error.js"
import type { Line } from "./line.js"
import { epochOf } from "./position.js"
import { later, pause } from "./retry.js"
import type { Tokens } from "./tokens.js"
import type { Command, Frame } from "./transport.js"
import type { CallOptions } from "./types.js"

export const enum Limit {
  /** How long a call is tried, in milliseconds. The server knows the key of a message for longer. */
  Timeout = 100_000,
  /** A timeout that does not come. A timer cannot be longer than 2^31. */
  Forever = 2e9,
  /** The messages that a history may have. */
  Page = 1000,
  /** The topics of a command: what an event stream takes, and what always fits. */
  Topics = 64,
  /** The commands of a second; the server takes 100. */
  Rate = 90,
}

/** A command that waits for its answer, over as many connections as it takes. It is about one topic. */
interface Call {
  _command: Command & { topic?: string; topics?: string[]; since?: any; key?: string }
  _topic: string
  /** Takes the answer while it is read, before the frames behind it. */
  _take: ((answer: Frame) => void) | undefined
  _done?: Promise<unknown>
  /** Ends the call with an error. */
  _fail?: (error: unknown) => void
  /** Resolves with the answer to an attempt; undefined: the connection ended before. */
  _answer?: (answer?: Omit<Frame, "type">) => void
  _token?: string | null | undefined
  /** Whether the server may have got it. Only calls with a key, which do not share commands, need to know. */
  _isSent?: boolean
}

/** The calls of a client. */
export interface Calls {
  _size(): number
  /**
   * Sends a command until it is answered, and returns the answer. `take` gets it at once. If
   * the server has refused the last token already, that is passed too.
   */
  _call(command: Call["_command"], options?: CallOptions, take?: Call["_take"], refused?: object): Promise<any>
  /** Handles a frame that may be the answer to a call. */
  _receive(frame: Frame): void
  /** A connection has begun or ended. */
  _reset(): void
  /** Ends all calls. */
  _close(): void
}

export const createCalls = (line: Line, tokens: Tokens): Calls => {
  const calls = new Set<Call>()
  /** What is to be sent. Calls of a kind can share a command. */
  const waiting = new Map<unknown, Call[]>()
  const sent = new Map<number | undefined, Call[]>()
  /** How many commands may be sent now. */
  let budget: number = Limit.Rate
  /** The epoch of the server, as far as it is known. */
  let epoch: string | undefined

  const giveUp = (call: Call, code: string) =>
    call._fail!(new NotifluxError(call._command.key && call._isSent ? "outcome_unknown" : code, { topic: call._topic, retry: true }))

  /** Sends what waits. Calls that agree in all but their topics share a command. */
  const flush = () => {
    for (const [kind, batch] of waiting) {
      if (budget < 1 || !line._welcome()) return
      waiting.delete(kind)
      const live = batch.filter((call) => calls.has(call))
      while (live[0]) send(live.splice(0, Limit.Topics))
    }
  }

  const send = (batch: Call[]) => {
    const [first] = batch as [Call]
    const { _command, _token } = first
    const command: Command = { ..._command, token: _token || undefined }
    if (_command.topics) {
      command.topics = batch.map((call) => call._topic)
      command.since = Object.assign({}, ...batch.map((call) => call._command.since))
    }
    const { limits, connection } = line._welcome()!
    const code =
      command.presence && !connection
        ? "unsupported"
        : // The id takes up to 25 bytes.
          new Blob([JSON.stringify(command)]).size + 25 > limits?.command && "too_large"
    if (code) return batch.forEach((call) => call._answer!({ code, retry: false }))
    first._isSent = true
    budget--
    later(() => {
      budget++
      flush()
    }, 1000)
    sent.set(line._send(command), batch)
  }

  /** Makes attempts until one succeeds. The answer is that to an attempt which was made before. */
  const run = async (call: Call, answer?: any): Promise<any> => {
    const { _command: command, _topic: topic } = call
    const scope = command.key ? "broadcast" : "subscribe"
    /** How the server refused the last token. */
    let refusal: any
    /** The epoch in which the outcome became unknown. */
    let doubted: string | undefined
    for (let failures = 0; calls.has(call); answer = undefined) {
      const grant = tokens._get(scope, topic, refusal)
      const token = (call._token = await grant)
      if (token === undefined) continue
      if (token === null || token === refusal?.token) throw new NotifluxError(refusal?.code ?? "logged_out", { topic }, refusal?.message)
      const kind = command.topics ? JSON.stringify({ ...command, topics: token, since: 0 }) : call
      const before = epoch
      answer ??= await new Promise<any>((resolve) => {
        call._answer = resolve
        waiting.set(kind, [...(waiting.get(kind) ?? []), call])
        queueMicrotask(flush)
      })
      // The answers to subscriptions tell whether the server has restarted, and forgotten the key.
      if (!answer && command.key) await Promise.allSettled([...calls].map((other) => other._command.topics && other._done))
      if (!answer || answer.code === "outcome_unknown") doubted ??= before
      if (command.key && doubted && doubted !== epoch) throw new NotifluxError("outcome_unknown", { topic })
      if (!answer) continue
      if (!answer.code) return answer
      if (/^token_/.test(answer.code) && !refusal) {
        refusal = { ...answer, token, _grant: grant }
      } else if (answer.retry ?? !/denied|invalid|malformed|token/.test(answer.code)) {
        refusal = undefined
        await pause(failures++, answer.after)
      }
      else throw new NotifluxError(answer.code, { topic }, answer.message)
    }
  }

  return {
    _size: () => calls.size,
    async _call(command, { timeout = Limit.Timeout, signal } = {}, take, refused) {
      signal?.throwIfAborted()
      if (line._state() === "closed") throw new NotifluxError("closed")
      const call: Call = { _command: command, _topic: command.topic ?? command.topics![0]!, _take: take }
      const timer = setTimeout(() => giveUp(call, "timeout"), command.key ? Math.min(timeout, Limit.Timeout) : timeout)
      const abort = () => call._fail!(signal!.reason)
      signal?.addEventListener("abort", abort)
      calls.add(call)
      line._settle()
      call._done = new Promise((resolve, reject) => {
        call._fail = (error) => {
          calls.delete(call)
          reject(error)
        }
        run(call, refused).then(resolve, reject)
      })
      try {
        return await call._done
      } finally {
        clearTimeout(timer)
        signal?.removeEventListener("abort", abort)
        calls.delete(call)
      }
    },
    _receive({ id, ...frame }) {
      const { code, retry, topics, refused } = frame
      const batch = sent.get(id) ?? []
      sent.delete(id)
      for (const call of batch) {
        const answer = topics ? (topics[call._topic] ?? refused?.[call._topic] ?? { code: "unavailable" }) : frame
        if (answer.position) epoch = epochOf(answer.position)
        if (batch[1] && code && !retry) send([call]) // One topic may have spoilt the command for the others.
        else {
          if (!answer.code && calls.has(call)) call._take?.(answer)
          call._answer!(answer)
        }
      }
    },
    _reset() {
      for (const batch of sent.values()) for (const call of batch) call._answer!()
      sent.clear()
      queueMicrotask(flush)
    },
    _close: () => calls.forEach((call) => giveUp(call, "closed")),
  }
}
