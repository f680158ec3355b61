// What of notiflux/react and notiflux/vue must compile, and what must not.

import assert from "node:assert/strict"
import { test } from "node:test"

import type { Client, Event, Message, NotifluxError } from "notiflux"
import { type Members, useConnection, usePresence, useTopic } from "notiflux/react"
import * as vue from "notiflux/vue"
import { ref, type ShallowRef } from "vue"

type News = { title: string }
type Chat = { text: string }
type Topics = { news: News; [chat: `chat:${string}`]: Chat }

/** Fails to compile unless both types are the same. */
const same = <A, B>(..._: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? [] : [never]) => {}

const titles = (before: string[], event: Event<"news", News>): string[] => (event.type === "message" ? [...before, event.data.title] : before)

// Never called: it only has to compile.
export const compiles = (client: Client<Topics>, untyped: Client, id: string | undefined) => {
  const [news, error] = useTopic(client, "news", titles, [])
  same<typeof news, string[]>()
  same<typeof error, NotifluxError | undefined>()
  // Whoever wants the data has to narrow, and so meets the gap.
  // @ts-expect-error
  useTopic(client, "news", (all: string[], event) => [...all, event.data.title], [])
  // @ts-expect-error
  useTopic(client, "news", (all: string[], message: Message<"news", News>) => [...all, message.data.title], [])
  // A topic has its own type.
  // @ts-expect-error
  useTopic(client, "chat:1", titles, [])
  useTopic(client, id && (`chat:${id}` as const), (n: number, event) => (event.type === "message" ? n + event.data.text.length : event.type === "gap" ? 0 : n), 0)
  useTopic(untyped, "any", (_: unknown, event) => event.type === "message" && event.data, undefined)
  useTopic(client, null, titles, [])
  useTopic(client, undefined, titles, [], { last: 10, mode: "latest" })
  // @ts-expect-error
  useTopic(client, 1, titles, [])
  // A state comes only with getState, and has the type of the state.
  // @ts-expect-error
  useTopic(client, "news", (all: string[], event) => (event.type === "state" ? event.state : all), [])
  const [loaded] = useTopic(client, "news", (all, event) => (event.type === "state" ? event.state : all), [] as News[], {
    getState: async ({ topic, signal }) => [{ title: topic + signal.aborted }],
  })
  same<typeof loaded, News[]>()
  // @ts-expect-error
  useTopic(client, "news", (all: News[], event) => (event.type === "state" ? event.state : all), [], { getState: () => 1 })
  const [members] = usePresence(client, "chat:1")
  same<typeof members, Members | undefined>()
  same<ReturnType<typeof useConnection>, Client["state"]>()

  const [state, failure] = vue.useTopic(client, ref("news" as const), titles, [])
  same<typeof state, Readonly<ShallowRef<string[]>>>()
  same<typeof failure.value, NotifluxError | undefined>()
  vue.useTopic(client, () => id && (`chat:${id}` as const), (n: number, event) => (event.type === "message" ? n + event.data.text.length : n), 0)
  // @ts-expect-error
  vue.useTopic(client, "news", (all: string[], event) => [...all, event.data.title], [])
  // @ts-expect-error
  vue.useTopic(client, ref("chat:1" as const), titles, [])
  vue.useTopic(client, "news", (all, event) => (event.type === "state" ? event.state : all), [] as News[], {
    getState: ({ topic }) => [{ title: topic }],
  })
  vue.usePresence(client, () => id)
  same<typeof members, vue.Members | undefined>()
}

test("reducers get the data of their topic", () => {
  assert.deepEqual(titles(["a"], { type: "message", topic: "news", data: { title: "b" }, time: 1, position: "E:1" as never }), ["a", "b"])
})
