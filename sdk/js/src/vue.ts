// notiflux/vue: composables for Vue 3.3 and newer.

import { getCurrentInstance, type MaybeRefOrGetter, onMounted, type ShallowRef, shallowRef, toValue, watch } from "vue"
import type { NotifluxError } from "./error.js"
import { follow, type Members, type Off, present } from "./follow.js"
import type { Client, Data, Event, State, SubscribeOptions } from "./types.js"

export type { Members, Off } from "./follow.js"

/** A state, and the error that ended the subscription, if one did. */
export type Followed<R> = readonly [state: Readonly<ShallowRef<R>>, error: Readonly<ShallowRef<NotifluxError | undefined>>]

/**
 * Subscribes to a topic until the scope is disposed of, and returns a state and the error that
 * ended the subscription, if one did. The reducer gets every event, gaps too, and returns the
 * next state. Another topic begins again with `initial`; with a falsy topic nothing is subscribed
 * to. In a component, the subscription begins when it is mounted.
 */
export function useTopic<T extends object, K extends string, R>(
  client: Client<T>,
  topic: MaybeRefOrGetter<K | Off>,
  reducer: (state: R, event: Event<K, Data<T, K>>) => R,
  initial: R,
  options?: SubscribeOptions & { getState?: never },
): Followed<R>
/** The same with getState, which returns what the reducer then gets as the event `state`. */
export function useTopic<T extends object, K extends string, R>(
  client: Client<T>,
  topic: MaybeRefOrGetter<K | Off>,
  reducer: (state: R, event: Event<K, Data<T, K>, R>) => R,
  initial: R,
  options: SubscribeOptions<R>,
): Followed<R>
export function useTopic<R>(
  client: Client<any>,
  topic: MaybeRefOrGetter<string | Off>,
  reducer: (state: R, event: any) => R,
  initial: R,
  options?: SubscribeOptions<any>,
): Followed<R> {
  const state = shallowRef(initial) as ShallowRef<R>
  const error = shallowRef<NotifluxError>()
  const isOn = whenMounted()
  watch(
    () => (isOn.value ? toValue(topic) : null),
    (name, _, onCleanup) => {
      const follower = follow(client, name, initial)
      const update = () => ([state.value, error.value] = follower._get())
      update()
      follower._use(reducer, options)
      onCleanup(follower._start(update))
    },
    { immediate: true },
  )
  return [state, error]
}

/**
 * Makes the user a member of a topic until the scope is disposed of, and returns who is present
 * (undefined: not known yet) and the error that ended the subscription, if one did.
 */
export const usePresence = (client: Client<any>, topic: MaybeRefOrGetter<string | Off>): Followed<Members | undefined> =>
  useTopic(client, topic, present, undefined as Members | undefined, { presence: true, mode: "latest" })

/** Returns the state of the connection. */
export const useConnection = (client: Client<any>): Readonly<ShallowRef<State>> => {
  const state = shallowRef(client.state)
  watch(
    whenMounted(),
    (isOn, _, onCleanup) => {
      const update = () => (state.value = client.state)
      update()
      if (isOn) onCleanup(client.on(update))
    },
    { immediate: true },
  )
  return state
}

/** Whether to connect: a component that is rendered on a server is never mounted. */
const whenMounted = (): Readonly<ShallowRef<boolean>> => {
  const isOn = shallowRef(!getCurrentInstance())
  if (!isOn.value) onMounted(() => (isOn.value = true))
  return isOn
}
