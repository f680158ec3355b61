import assert from "node:assert/strict"
import { type TestContext, test } from "node:test"

import type { Event, Position } from "notiflux"
import { follow } from "../src/follow.js"
import { fakeClient } from "./fake.js"

const setUp = (t: TestContext, options?: object) => {
  const fake = fakeClient(t)
  const follower = follow<unknown[]>(fake.client as any, "a", [])
  follower._use((state: unknown[], event: Event) => (event.type === "message" ? [...state, event.data] : event.type === "gap" ? [...state, "gap"] : state), options)
  return { ...fake, follower }
}

// React does this with a component that is hidden in an Activity and shown again.
test("a second start continues after what the state contains", async (t) => {
  const { transport, wait, follower } = setUp(t, { last: 1 })
  const stop = follower._start(() => {})
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.message("a", 1)
  transport.last.message("a", 2)
  await wait(0)
  transport.last.message("a", 3) // This one is in the queue when the component goes.
  stop()
  await wait(1000)
  await transport.last.command("unsubscribe")
  follower._start(() => {})
  const command = await transport.last.command("subscribe")
  assert.deepEqual(command.since, { a: "E:2" })
  transport.last.confirm(command, "E:2")
  transport.last.message("a", 3)
  await wait(0)
  assert.deepEqual(follower._get(), [[1, 2, 3], undefined])
})

test("a gap that the state has not seen is announced after a second start", async (t) => {
  const { transport, wait, follower } = setUp(t, { since: "E:1" as Position })
  const stop = follower._start(() => {})
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:9", { recovered: false })
  stop()
  await wait(1000)
  await transport.last.command("unsubscribe")
  follower._start(() => {})
  const command = await transport.last.command("subscribe")
  assert.deepEqual(command.since, { a: "E:1" })
  transport.last.confirm(command, "E:9", { recovered: false })
  await wait(0)
  assert.deepEqual(follower._get()[0], ["gap"])
})

test("a second start forgets the error of the first", async (t) => {
  const { transport, wait, follower } = setUp(t)
  const stop = follower._start(() => {})
  transport.last.welcome()
  const { id } = await transport.last.command("subscribe")
  transport.last.frame({ type: "subscribed", id, topics: {}, refused: { a: { code: "topic_denied" } } })
  await wait(0)
  assert.equal(follower._get()[1]?.code, "topic_denied")
  stop()
  follower._start(() => {})
  assert.equal(follower._get()[1], undefined)
})

test("without a topic nothing is subscribed to", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  for (const topic of [null, undefined, "", false, 0] as const) follow(client as any, topic, 0)._start(() => {})()
  await wait(1000)
  assert.equal(transport.opened.length, 0)
})
