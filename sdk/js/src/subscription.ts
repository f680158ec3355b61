import { Limit } from "./calls.js"
import { NotifluxError } from "./error.js"
import type { Positions } from "./plugin.js"
import { epochOf, isAfter } from "./position.js"
import { type Entry, put } from "./queue.js"
import { pause, persist } from "./retry.js"
import type { Topics } from "./topics.js"
import type { Client, Event, Handlers, Position, Snapshot, Subscribed, SubscribeOptions, Subscription } from "./types.js"

export type AnyOptions = SubscribeOptions<unknown> & Partial<Handlers<string, unknown, unknown>>

/** A subscription, with what only its client uses. */
export interface Subscriber extends Subscription, AsyncIterable<Event> {
  readonly _options: AnyOptions
  /** The server confirmed the topic, which began with these options. */
  _confirm(answer: Confirmation, since?: Position, last?: number): void
  /** An event arrived. If it moves the topic on, `to` is where. */
  _push(event: Event, to?: Position): void
  /** Ends the subscription: at once or, with an error, after the events in the queue. */
  close(error?: NotifluxError): void
}

export type Confirmation = Pick<Subscribed, "position" | "recovered" | "replay">

/**
 * What happens to an event that arrives: if the subscription is live, it goes into the queue.
 * Otherwise it is dropped, and the topic resumes later, after the tail of the queue.
 */
const enum Phase {
  /** The server has to confirm the topic. */
  New,
  Live,
  /** The queue was full, and the subscriber has to empty it. */
  Behind,
  /** The state or the history has to be loaded. */
  Loading,
}

export const createSubscriber = (topic: string, options: AnyOptions, topics: Topics, history: Client["history"], positions: Positions | undefined): Subscriber => {
  const { buffer = 1000, getState, onMessage, onGap, onEvent, onError } = options
  const end = new AbortController()
  const { signal } = end
  let queue: Entry[] = []
  /** Why messages are missing before the next answer of the server. */
  let reason: "overflow" | undefined
  /** The queue has got everything up to here. */
  let tail = options.since
  let phase = Phase.New as Phase
  let isNew = true
  /** How many states in a row were too old for messages to continue after them. */
  let stale = 0
  let loading = new AbortController()
  let failure: NotifluxError | undefined
  /** Resumes the loop, which waits for an event. */
  let wake = () => {}
  let confirmed: () => void
  let refused: (error: NotifluxError) => void

  const close = (error?: NotifluxError) => {
    if (!error) queue = []
    if (signal.aborted) return
    failure = error
    refused(error ?? new NotifluxError("closed", { topic }))
    end.abort()
    loading.abort()
    topics._leave(subscriber)
    wake()
  }

  /** Gets the members, since events about them may have been dropped. */
  const list = () => {
    if (options.presence) topics._list(topic)
  }

  const resume = () => {
    phase = topics._resume(topic, tail, isNew ? options.last : 0) ? Phase.New : Phase.Live
    list()
  }

  async function* events(): AsyncGenerator<Event, void> {
    try {
      for (;;) {
        const entry = queue.shift()
        if (entry) {
          yield entry._event
          if (entry._to) {
            subscriber.position = entry._to
            positions?.set(topic, entry._to)
          }
        } else if (signal.aborted) {
          if (failure) throw failure
          return
        } else {
          if (phase === Phase.Behind) void readOn()
          await new Promise<void>((resolve) => (wake = resolve))
        }
      }
    } finally {
      close()
    }
  }

  /** Calls the handlers. */
  const handle = async () => {
    try {
      for await (const event of events()) {
        const handler: any = event.type === "message" ? onMessage : event.type === "gap" ? onGap : onEvent
        const call = async () => [await handler?.call?.(options, event)] // The string "ignore" cannot be called.
        if (!(await persist(call, () => signal.aborted && !failure, topic))) return
      }
    } catch (error) {
      if (!onError) throw error
      onError(error as NotifluxError)
    }
  }

  const push = (event: Event, to = tail) => {
    const isGap = event.type === "gap"
    if (isGap && phase !== Phase.Behind) {
      loading.abort()
      phase = Phase.Live
    }
    if (phase !== Phase.Live || (event.type === "message" && !isAfter(to!, tail))) return
    if (put(queue, { _event: event, _from: tail, _to: to }, buffer, options.mode === "latest")) tail = to
    else phase = Phase.Behind
    wake()
    if (isGap) void load()
  }

  const confirm = (answer: Confirmation, since?: Position, last?: number) => {
    const at = answer.position
    const wasNew = isNew
    // The topic may have begun elsewhere, for another subscription.
    if (isNew ? options.since !== since || options.last !== last : answer.recovered && !reason && phase < Phase.Behind && isAfter(at, tail)) {
      resume()
      if (!isNew || phase === Phase.New) return
    }
    const isLost = reason || (tail && !answer.recovered && (phase === Phase.New || at !== tail))
    tail ??= at
    stale = isLost && !reason && !wasNew && phase === Phase.New ? stale + 1 : 0
    isNew = false
    confirmed()
    if (phase === Phase.New) phase = Phase.Live
    push({ type: "subscribed", topic, ...answer, recovered: !isLost })
    list()
    if (isLost) push({ type: "gap", topic, position: at, reason: reason ?? (epochOf(at) === epochOf(since) ? "expired" : "restarted") }, at)
    else if (wasNew) void load()
    reason = undefined
  }

  /** Drops what arrives while f works. It returns nothing if a gap, or the end, came in between. */
  const during = async <T>(f: (signal: AbortSignal) => Promise<T>): Promise<T | void> => {
    phase = Phase.Loading
    const { signal } = (loading = new AbortController())
    try {
      const result = await f(signal)
      if (!signal.aborted) return result
    } catch (error) {
      if (!signal.aborted) close(error as NotifluxError)
    }
  }

  /** Reads on in the history, as far as the queue has room. At its end the topic resumes. */
  const readOn = async () => {
    const read = await during((signal) => history(topic, { since: tail, limit: Math.min(buffer || 1, Limit.Page), timeout: Limit.Forever, signal }))
    if (!read) return
    if (!read.recovered) {
      // What the server still has comes after the gap.
      reason = "overflow"
      phase = Phase.New
      return void topics._resume(topic, undefined, Limit.Page)
    }
    phase = Phase.Live
    for (const message of read.messages) push(message, message.position)
    if (read.more) phase = Phase.Behind
    else resume()
  }

  /** Loads the state, if the subscriber has one. */
  const load = async () => {
    if (!getState || phase !== Phase.Live) return
    const read = async (): Promise<Snapshot<unknown>> => {
      const result: any = await getState({ topic, signal: loading.signal })
      const snapshot = result?.position && "state" in result ? result : { state: result, position: tail }
      if (epochOf(snapshot.position) !== epochOf(tail)) throw snapshot // Its position is of another epoch.
      return snapshot
    }
    const snapshot = await during(async (signal) => {
      if (stale) await pause(stale)
      return persist(read, () => signal.aborted, topic)
    })
    if (!snapshot) return
    tail = snapshot.position
    queue.push({ _event: { type: "state", topic, ...snapshot } as never, _to: tail })
    wake()
    resume()
  }

  const ready = new Promise<void>((resolve, reject) => {
    confirmed = resolve
    refused = reject
  })
  ready.catch(() => {})
  const subscriber: Subscriber & { position: Position | undefined } = {
    topic,
    ready,
    position: tail,
    close,
    [Symbol.asyncIterator]: events,
    _options: options,
    _confirm: confirm,
    _push: push,
  }
  options.signal?.addEventListener("abort", () => close(), { signal })
  if (onMessage) void handle()
  return subscriber
}
