// What must compile, and what must not: `npm test` checks the types before it runs anything.

import assert from "node:assert/strict"
import { test } from "node:test"

import { type Client, connect, type Event, type Message, type Options, type Position, type State } from "notiflux"

type News = { title: string }
type Chat = { text: string }
type Topics = { news: News; [chat: `chat:${string}`]: Chat }

/** Fails to compile unless both types are the same. */
const same = <A, B>(..._: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? [] : [never]) => {}

// Never called: it only has to compile.
export const compiles = async (client: Client<Topics>, untyped: Client, position: Position) => {
  // Callbacks without onGap do not compile.
  // @ts-expect-error
  client.subscribe("news", { onMessage() {} })
  const handlers = { last: 1, onMessage() {} }
  // @ts-expect-error
  client.subscribe("news", handlers)
  // @ts-expect-error
  client.subscribe("news", { onGap: "ignore" })
  // @ts-expect-error
  client.subscribe("news", { onMessage() {}, onGap: "skip" })
  client.subscribe("news", { onMessage() {}, onGap: "ignore" })
  const called = client.subscribe("news", {
    onMessage(message) {
      same<typeof message, Message<"news", News>>()
    },
    onGap(gap) {
      same<typeof gap.reason, "expired" | "restarted" | "server" | "overflow">()
    },
    onEvent(event) {
      // @ts-expect-error
      event.type === "message"
      return event.type === "present" && event.count
    },
  })
  // With callbacks there is nothing to iterate.
  // @ts-expect-error
  for await (const _ of called);

  for await (const event of client.subscribe("news")) {
    // Whoever wants the data has to narrow, and so meets the gap.
    // @ts-expect-error
    event.data
    if (event.type === "message") same<typeof event.data, News>()
    else if (event.type === "gap") same<typeof event.position, Position>()
    // Without getState there is no state.
    // @ts-expect-error
    else event.type === "state"
  }

  for await (const event of client.subscribe("chat:1", { getState: async () => ({ state: [1, 2], position }) })) {
    if (event.type === "message") same<typeof event.data, Chat>()
    if (event.type === "state") same<typeof event.state, number[]>()
  }
  for await (const event of client.subscribe("chat:1", { getState: ({ topic, signal }) => [topic, signal.aborted].join() }))
    if (event.type === "state") same<typeof event.state, string>()

  for await (const event of untyped.subscribe("anything")) if (event.type === "message") same<typeof event.data, unknown>()
  for await (const event of client.subscribe("another")) if (event.type === "message") same<typeof event.data, unknown>()

  same<Position, Awaited<ReturnType<typeof client.publish>>>()
  void client.publish("news", { title: "x" }, { key: "k", timeout: 1000, signal: AbortSignal.timeout(1) })
  // @ts-expect-error
  void client.publish("news", { text: "x" })
  void untyped.publish("anything", [1])
  const { messages, more } = await client.history("chat:2", { since: position, limit: 10 })
  same<typeof messages, Message<"chat:2", Chat>[]>()
  same<typeof more, boolean>()
  // A position is a string that a program has stored, not any string.
  // @ts-expect-error
  void client.history("news", { since: "E:1" })
  same<(typeof untyped)["state"], State>()

  const options: Options = {
    token: async ({ scope, topics, code, signal }) => (scope === "broadcast" && code === "token_expired" ? null : [topics, signal].join()),
    transports: ["websocket", "stream", "poll"],
  }
  return connect<Topics>("https://push.example.com", options)
}

test("the events of a subscription are told apart by their type", () => {
  const describe = (event: Event<"a", number, string>): string => {
    switch (event.type) {
      case "message":
        return `${event.topic} ${event.data} ${event.position} ${event.time}`
      case "gap":
        return `${event.reason} ${event.position}`
      case "state":
        return `${event.state} ${event.position}`
      case "subscribed":
        return `${event.position} ${event.recovered} ${event.replay}`
      case "skipped":
        return `${event.from} ${event.to}`
      case "disconnected":
        return `${event.code} ${event.retryIn}`
      case "joined":
      case "left":
        return event.members.map(({ sub }) => sub).join()
      case "present":
        return `${event.count} ${event.members?.length}`
    }
  }
  assert.equal(describe({ type: "gap", topic: "a", reason: "expired", position: "E:1" as Position }), "expired E:1")
})
