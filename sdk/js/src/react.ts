"use client"
// notiflux/react: hooks for React 18 and newer.

import { useCallback, useEffect, useState, useSyncExternalStore } from "react"
import { follow, type Followed, type Members, type Off, present } from "./follow.js"
import type { Client, Data, Event, State, SubscribeOptions } from "./types.js"

export type { Followed, Members, Off } from "./follow.js"

/**
 * Subscribes to a topic while the component is mounted, and returns a state and the error that
 * ended the subscription, if one did. The reducer gets every event, gaps too, and returns the
 * next state; it must be pure. Another client or topic begins again with `initial`; with a falsy
 * topic nothing is subscribed to. The options count when the subscription begins.
 */
export function useTopic<T extends object, K extends string, R>(
  client: Client<T>,
  topic: K | Off,
  reducer: (state: R, event: Event<K, Data<T, K>>) => R,
  initial: R,
  options?: SubscribeOptions & { getState?: never },
): Followed<R>
/** The same with getState, which returns what the reducer then gets as the event `state`. */
export function useTopic<T extends object, K extends string, R>(
  client: Client<T>,
  topic: K | Off,
  reducer: (state: R, event: Event<K, Data<T, K>, R>) => R,
  initial: R,
  options: SubscribeOptions<R>,
): Followed<R>
export function useTopic<R>(
  client: Client<any>,
  topic: string | Off,
  reducer: (state: R, event: any) => R,
  initial: R,
  options?: SubscribeOptions<any>,
): Followed<R> {
  const create = () => follow(client, topic, initial)
  let [follower, replace] = useState(create)
  if (follower._client !== client || follower._topic !== topic) replace((follower = create()))
  useEffect(() => follower._use(reducer, options))
  return useSyncExternalStore(follower._start, follower._get, follower._get)
}

/**
 * Makes the user a member of a topic while the component is mounted, and returns who is present
 * (undefined: not known yet) and the error that ended the subscription, if one did.
 */
export const usePresence = (client: Client<any>, topic: string | Off): Followed<Members | undefined> =>
  useTopic(client, topic, present, undefined as Members | undefined, { presence: true, mode: "latest" })

/** Returns the state of the connection. */
export const useConnection = (client: Client<any>): State =>
  useSyncExternalStore(
    useCallback((changed) => client.on(changed), [client]),
    () => client.state,
    () => "idle",
  )
