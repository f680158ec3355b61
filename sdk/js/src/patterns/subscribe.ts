// A subscription to a pattern.
//
// Unlike topics, a pattern has no history, and the positions of its messages are those of their
// topics. Instead the server says from time to time that everything up to a position was sent,
// the mark. Resuming after the mark repeats what followed it, so a subscription remembers how
// far it is in each topic, and drops what comes again.
//
// Each subscription has a connection of its own: on a shared one, a message that several
// subscriptions match comes only once.

import { createCalls, Limit } from "../calls.js"
import { errorOf, remote } from "../client.js"
import { NotifluxError } from "../error.js"
import { createLine } from "../line.js"
import { epochOf, isAfter } from "../position.js"
import { type Entry, put } from "../queue.js"
import { Close, persist } from "../retry.js"
import { createTokens } from "../tokens.js"
import type { Frame } from "../transport.js"
import type { Event, Gap, Message, Need, Options, Position } from "../types.js"
import type { PatternHandlers, PatternOptions, PatternSubscription } from "./connect.js"
import { ways } from "./ways.js"

/** In how many topics a subscription remembers where it is. The server repeats at most 1,000 messages. */
const SEEN = 4096

export type Subscription = PatternSubscription & AsyncIterable<Event> & { position: Position | undefined }

/** Subscribes to a pattern, and calls `closed` at the end. */
export const subscribe = (
  url: string,
  options: Options,
  pattern: string,
  { since, buffer = 1000, signal: ending, ...handlers }: PatternOptions & Partial<PatternHandlers<string, unknown>>,
  closed: (subscription: Subscription) => void,
): Subscription => {
  const over = new AbortController()
  const { signal } = over
  let queue: Entry[] = []
  /** What the loop handles. */
  let current: Entry | undefined
  /** The queue has got everything up to here. */
  let mark = since
  /** The same, for HTTP. It may be newer. */
  let cursor: string | undefined
  /** By topic: up to where the queue has got everything. */
  const seen = new Map<string, Position>()
  let isLive = false
  /** The queue was full. What arrives is dropped until the loop has emptied it. */
  let isBehind = false
  let isRestart = false
  let call: AbortController | undefined
  let failure: NotifluxError | undefined
  /** Resumes the loop, which waits for an event. */
  let wake = () => {}
  let confirmed: () => void
  let refused: (error: NotifluxError) => void

  const log = (event: string, facts?: object) => queueMicrotask(() => options.log?.({ event, pattern, ...facts }))
  const get: typeof fetch = options.fetch ?? fetch

  const line = createLine(ways(url, options, () => cursor), {
    _ifUp: (f) => get(url + "/livez").then((response) => response.ok && f()).catch(() => {}),
    _isNeeded: () => !signal.aborted,
    _changed: log,
    _began: () => calls._reset(),
    _frame(frame) {
      calls._receive(frame)
      receive(frame)
    },
    _ended({ code, _isRestart }, wait) {
      if (wait === undefined) close(errorOf({ code: code! }))
      if (isLive) {
        if (!_isRestart) push({ type: "disconnected", topic: pattern, code, retryIn: wait! })
        void start(code === Close.Revoked ? { code: "token_revoked" } : undefined)
      }
      calls._reset()
    },
  })
  const { token = () => "" } = options
  const source = typeof token !== "string" ? token : token.includes("/") ? remote(token, get) : () => token
  const calls = createCalls(line, createTokens(({ topics, ...need }: Need) => source({ ...need, topics: [], patterns: topics }), log))

  /** Subscribes, from the mark on. It may know that the server refused the last token. */
  const start = async (answer?: object) => {
    if (line._welcome() && call) line._send({ type: "unsubscribe", topics: [pattern] })
    call?.abort()
    isLive = false
    if (signal.aborted) return
    const { signal: isOver } = (call = new AbortController())
    line._settle()
    await undefined // The caller may be about to end the connection's calls.
    try {
      await calls._call({ type: "subscribe", topics: [pattern], since: { [pattern]: mark } }, { timeout: Limit.Forever, signal: isOver }, confirm, answer)
    } catch (error: any) {
      if (isOver.aborted) return
      call = undefined
      close(error.code === "malformed" ? new NotifluxError("malformed", { topic: pattern, cause: error }, "the server is too old for subscriptions to patterns; update it") : error)
    }
  }

  const confirm = ({ position, recovered, replay }: any) => {
    const isLost = mark !== undefined && !recovered
    const reason = isRestart ? "overflow" : "expired"
    const hasRestarted = isRestart
    isLive = true
    isBehind = isRestart = false
    confirmed()
    if (!hasRestarted) push({ type: "subscribed", topic: pattern, position, recovered: !isLost, replay })
    if (isLost) lose(position, epochOf(position) === epochOf(mark) ? reason : "restarted")
    else move(position)
  }

  const lose = (position: Position, reason: Gap["reason"]) => {
    push({ type: "gap", topic: pattern, position, reason })
    move(position)
  }

  /** Everything up to a position is in the queue. */
  const move = (position: Position, at?: string) => {
    if (!isLive || isBehind) return
    mark = position
    cursor = at
    const last = queue.at(-1) ?? current
    if (last) last._to = position
    else subscription.position = position
  }

  const push = (event: Event): boolean => {
    if (isBehind || signal.aborted) return false
    isBehind = !put(queue, { _event: event }, buffer)
    wake()
    return !isBehind
  }

  const receive = (frame: Frame) => {
    const { type, topic, position, code, topics } = frame
    if (!isLive) return
    if (type === "message") {
      if (isAfter(position, seen.get(topic)) && push(frame as Message & Frame)) {
        seen.delete(topic)
        seen.set(topic, position)
        if (seen.size > SEEN) seen.delete(seen.keys().next().value!)
      }
    } else if (type === "position" && position) move(position)
    else if (type === "gap") lose(position, "server")
    else if (type === "unsubscribed" && code) void start(frame)
    else if (type === "hello") move(topics[pattern].position) // of a further poll
    if (frame.cursor && !isBehind) cursor = frame.cursor
  }

  const close = (error?: NotifluxError) => {
    if (!error) queue = []
    if (signal.aborted) return
    failure = error
    refused(error ?? new NotifluxError("closed", { topic: pattern }))
    over.abort()
    call?.abort()
    queueMicrotask(() => line._close()) // It may be in the middle of something.
    closed(subscription)
    wake()
  }

  async function* events(): AsyncGenerator<Event, void> {
    try {
      for (;;) {
        current = queue.shift()
        if (current) {
          yield current._event
          subscription.position = current._to ?? subscription.position
        } else if (signal.aborted) {
          if (failure) throw failure
          return
        } else {
          if (isBehind && isLive) {
            isRestart = true
            void start()
          }
          await new Promise<void>((resolve) => (wake = resolve))
        }
      }
    } finally {
      close()
    }
  }

  /** Calls the handlers. */
  const handle = async () => {
    const { onMessage, onGap, onEvent, onError } = handlers
    try {
      for await (const event of events()) {
        const handler: any = event.type === "message" ? onMessage : event.type === "gap" ? onGap : onEvent
        const call = async () => [await handler?.call?.(handlers, event)] // The string "ignore" cannot be called.
        if (!(await persist(call, () => signal.aborted && !failure, pattern))) return
      }
    } catch (error) {
      if (!onError) throw error
      onError(error as NotifluxError)
    }
  }

  const ready = new Promise<void>((resolve, reject) => {
    confirmed = resolve
    refused = reject
  })
  ready.catch(() => {})
  const subscription: Subscription = { pattern, ready, position: since, close: () => close(), [Symbol.asyncIterator]: events as () => AsyncIterator<Event> }
  if (ending?.aborted) close()
  else {
    ending?.addEventListener("abort", () => close(), { signal })
    void start()
  }
  if (handlers.onMessage) void handle()
  return subscription
}
