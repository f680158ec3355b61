// What notiflux/react and notiflux/vue have in common: a topic folded into a state.

import type { NotifluxError } from "./error.js"
import type { Client, Event, Member, Position, SubscribeOptions } from "./types.js"

/** A state, and the error that ended the subscription, if one did. */
export type Followed<R> = readonly [state: R, error: NotifluxError | undefined]

/** Who is present in a topic. */
export interface Members {
  /** The number of members. */
  readonly count: number
  /** The members, unless they are more than 1,000. */
  readonly members?: readonly Member[] | undefined
}

/** In the place of a topic: subscribe to nothing. */
export type Off = false | 0 | "" | null | undefined

/** @internal The topic that a component shows. */
export interface Follower<R> {
  readonly _client: Client<any>
  readonly _topic: string | Off
  /** What to do with the next events; the options count for the next start. */
  _use(reducer: (state: R, event: any) => R, options: SubscribeOptions<any> | undefined): void
  _get(): Followed<R>
  /** Subscribes, and returns a function that ends this. A second start continues where the first one ended. */
  _start(changed: () => void): () => void
}

/** @internal */
export const follow = <R>(client: Client<any>, topic: string | Off, initial: R): Follower<R> => {
  let now: Followed<R> = [initial, undefined]
  let reduce: (state: R, event: Event<any, any, any>) => R
  let terms: SubscribeOptions<any> | undefined
  /** Everything up to here is in the state. */
  let position: Position | undefined

  return {
    _client: client,
    _topic: topic,
    _use(reducer, options) {
      reduce = reducer
      terms = options
    },
    _get: () => now,
    _start(changed) {
      if (!topic) return () => {}
      let timer: ReturnType<typeof setTimeout> | undefined

      const set = (state: R, error?: NotifluxError) => {
        if (Object.is(state, now[0]) && error === now[1]) return
        now = [state, error]
        // Events that arrive together cause one update.
        timer ??= setTimeout(() => {
          timer = undefined
          changed()
        }, 0)
      }
      const take = (event: Event<any, any, any>) => {
        set(reduce(now[0], event))
        if ("recovered" in event && !event.recovered) return // The gap follows, and may not be left out.
        position = "to" in event ? event.to : "position" in event ? event.position : position
      }

      set(now[0])
      const handlers = { onMessage: take, onGap: take, onEvent: take, onError: (error: NotifluxError) => set(now[0], error) }
      const subscription = client.subscribe<string, any>(topic, { ...terms, since: position ?? terms?.since, ...handlers })
      return () => {
        subscription.close()
        clearTimeout(timer)
      }
    },
  }
}

/** @internal Applies an event to the members of a topic: docs/protocol.md, section 4. */
export const present = (now: Members | undefined, event: Event<any, any>): Members | undefined => {
  if (event.type === "present") return { count: event.count, members: event.members }
  if (!now?.members || !/joined|left/.test(event.type)) return now
  const changed = (event as any).members as Member[]
  const rest = now.members.filter(({ sub }) => changed.every((member) => member.sub !== sub))
  const members = event.type === "left" ? rest : [...rest, ...changed]
  return { count: members.length, members }
}
