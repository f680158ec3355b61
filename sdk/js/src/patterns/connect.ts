import type { Disconnected, Data, Gap, Handlers, Message, NoHandlers, Options, Position, Subscribed } from "../types.js"
import { type Subscription, subscribe } from "./subscribe.js"

/** The topics that a pattern matches. */
export type Matching<P extends string> = P extends `${infer Prefix}*` ? `${Prefix}${string}` : never

/** What a subscription to a pattern yields. `subscribed`, `gap` and `disconnected` have the pattern as their `topic`. */
export type PatternEvent<K extends string = string, D = unknown> = Message<K, D> | Gap | Subscribed | Disconnected

export interface PatternOptions {
  /** Continue after this `position` of a former subscription. Some messages after it may come again. */
  since?: Position | undefined
  /** The size of the queue in events, by default 1,000. It also holds at most 1 MiB. */
  buffer?: number
  /** Ends the subscription. */
  signal?: AbortSignal
}

export interface PatternHandlers<K extends string, D> extends Pick<Handlers<K, D>, "onMessage" | "onGap" | "onError"> {
  /** Gets all other events. */
  onEvent?(event: Subscribed | Disconnected): unknown
}

/** A subscription to a pattern. It is used like one to a topic. */
export interface PatternSubscription<P extends string = string> {
  readonly pattern: P
  /** Resolves when the server has confirmed the subscription; rejects if it ends before. */
  readonly ready: Promise<void>
  /** Everything up to here was handled. */
  readonly position: Position | undefined
  close(): void
}

/** A client that subscribes to patterns. T maps topics to the types of their data. */
export interface PatternClient<T extends object = Record<string, unknown>> {
  /** Subscribes to all topics that begin with the text before the `*`, and calls the handlers, one call at a time. */
  subscribePattern<P extends `${string}*`>(
    pattern: P,
    options: PatternOptions & PatternHandlers<Matching<P>, Data<T, Matching<P>>>,
  ): PatternSubscription<P>
  /** Subscribes; iterate over what is returned. */
  subscribePattern<P extends `${string}*`>(
    pattern: P,
    options?: PatternOptions & NoHandlers,
  ): PatternSubscription<P> & AsyncIterable<PatternEvent<Matching<P>, Data<T, Matching<P>>>>
  /** Ends all subscriptions. */
  close(): void
}

/** Returns a client of the server at a URL, which subscribes to patterns. It has the options of `connect`; `tabs` and `positions` have no effect. */
export const connectPatterns = <T extends object = Record<string, unknown>>(url: string, options: Options = {}): PatternClient<T> => {
  url = url.replace(/\/+$/, "")
  const open = new Set<Subscription>()
  return {
    subscribePattern(pattern: string, more: PatternOptions & Partial<PatternHandlers<string, unknown>> = {}): any {
      if (!pattern.endsWith("*")) throw new TypeError(`${JSON.stringify(pattern)} is not a pattern; use the beginning of topics followed by *`)
      const subscription = subscribe(url, options, pattern, more, (ended) => open.delete(ended))
      if (!more.signal?.aborted) open.add(subscription)
      return subscription
    },
    close() {
      for (const subscription of open) subscription.close()
    },
  }
}
