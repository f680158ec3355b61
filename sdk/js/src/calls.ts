import { NotifluxError } from "./error.js"
import type { Line } from "./line.js"
import { epochOf } from "./position.js"
import { backoff, sleep } from "./retry.js"
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
  /** Aborted when the call has ended. */
  _end: AbortController
  /** Resolves with the answer to an attempt; undefined: the connection ended before. */
  _answer?: (answer?: Omit<Frame, "type">) => void
  _token?: string | null | undefined
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
  /** Handles a frame. It reports whether that was the answer to a call. */
  _receive(frame: Frame): boolean
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
  const subscribing = new Set<Promise<unknown>>()
  /** How many commands may be sent now. */
  let budget: number = Limit.Rate
  const epochs = new Set<string | undefined>()

  const giveUp = (call: Call, code: string) =>
    call._end.abort(new NotifluxError(call._command.key && call._isSent ? "outcome_unknown" : code, { topic: call._topic, retry: true }))

  /** Sends what waits. Calls that agree in all but their topics share a command. */
  const flush = () => {
    for (const [kind, batch] of line._welcome() ? waiting : []) {
      if (!budget) return
      waiting.delete(kind)
      const live = batch.filter((call) => !call._end.signal.aborted)
      while (live[0]) send(live.splice(0, Limit.Topics))
    }
  }

  const send = (batch: Call[]) => {
    const [{ _command, _token }] = batch as [Call]
    const command: Command = { ..._command, token: _token || undefined }
    if (_command.topics) {
      command.topics = batch.map((call) => call._topic)
      command.since = Object.assign({}, ...batch.map((call) => call._command.since))
    }
    const { limits, _isEarly } = line._welcome()!
    const code =
      command.presence && _isEarly
        ? "unsupported"
        : // The id takes up to 25 bytes.
          new Blob([JSON.stringify(command)]).size + 25 > limits?.command && "too_large"
    if (code) return batch.forEach((call) => call._answer!({ code, retry: false }))
    for (const call of batch) call._isSent = true
    budget--
    setTimeout(() => {
      budget++
      flush()
    }, 1000)
    sent.set(line._send(command), batch)
  }

  /** Makes attempts until one succeeds. The answer is that to an attempt which was made before. */
  const run = async (call: Call, answer?: any): Promise<any> => {
    const { _command: command, _topic: topic, _end } = call
    const scope = command.key ? "broadcast" : "subscribe"
    /** How the server refused the last token. */
    let refusal: any
    /** How many epochs were known when the outcome became unknown. */
    let known: number | undefined
    for (let failures = 0; !_end.signal.aborted; answer = undefined) {
      const grant = tokens._get(scope, topic, refusal?.code)
      const token = (call._token = await grant)
      if (token == null || token === refusal?.token) {
        tokens._drop(scope, topic, grant)
        throw new NotifluxError(refusal?.code ?? "logged_out", { topic }, refusal?.message)
      }
      const kind = command.topics ? JSON.stringify({ ...command, topics: token, since: 0 }) : call
      const { size } = epochs
      answer ??= await new Promise<any>((resolve) => {
        call._answer = resolve
        waiting.set(kind, [...(waiting.get(kind) ?? []), call])
        queueMicrotask(flush)
      })
      // The answers to subscriptions tell whether the server has restarted, and forgotten the key.
      if (!answer && command.key) await Promise.allSettled(subscribing)
      if (!answer || answer.code === "outcome_unknown") known ??= size || Infinity
      if (command.key && known! < epochs.size) throw new NotifluxError("outcome_unknown", { topic })
      if (!answer) continue
      if (!answer.code) return answer
      if (/^token_/.test(answer.code) && !refusal) {
        refusal = { ...answer, token }
        tokens._drop(scope, topic, grant)
      } else if (answer.retry ?? !/denied|invalid|malformed|token/.test(answer.code)) await sleep(Math.max(answer.after ?? 0, backoff(failures++)))
      else throw new NotifluxError(answer.code, { topic }, answer.message)
    }
  }

  return {
    _size: () => calls.size,
    async _call(command, { timeout = Limit.Timeout, signal } = {}, take, refused) {
      signal?.throwIfAborted()
      if (line._state() === "closed") throw new NotifluxError("closed")
      const end = new AbortController()
      const call: Call = { _command: command, _topic: command.topic ?? command.topics![0]!, _take: take, _end: end }
      const timer = setTimeout(() => giveUp(call, "timeout"), timeout)
      signal?.addEventListener("abort", () => end.abort(signal.reason), { signal: end.signal })
      calls.add(call)
      line._settle()
      const answer = new Promise((resolve, reject) => {
        end.signal.addEventListener("abort", () => reject(end.signal.reason))
        run(call, refused).then(resolve, reject)
      })
      if (command.topics) subscribing.add(answer)
      try {
        return await answer
      } finally {
        clearTimeout(timer)
        end.abort()
        calls.delete(call)
        subscribing.delete(answer)
      }
    },
    _receive({ id, ...frame }) {
      const { code, retry, topics, refused } = frame
      const batch = sent.get(id) ?? []
      sent.delete(id)
      for (const call of batch) {
        const answer = topics ? (topics[call._topic] ?? refused?.[call._topic] ?? { code: "unavailable" }) : frame
        if (answer.position) epochs.add(epochOf(answer.position))
        if (batch[1] && code && !retry) send([call]) // One topic may have spoilt the command for the others.
        else {
          if (!answer.code && !call._end.signal.aborted) call._take?.(answer)
          call._answer!(answer)
        }
      }
      return !!batch[0]
    },
    _reset() {
      for (const batch of sent.values()) for (const call of batch) call._answer!()
      sent.clear()
      queueMicrotask(flush)
    },
    _close: () => calls.forEach((call) => giveUp(call, "closed")),
  }
}
