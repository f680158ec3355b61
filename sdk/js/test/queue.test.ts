// The queue of a subscription, gaps, and the state.

import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"

import type { Options, Position, SubscribeOptions } from "notiflux"
import { brief, collect, type FakeConnection, fakeClient, settle } from "./fake.js"

const at = (text: string) => text as Position

/** Returns a confirmed subscription to the topic "a" from E:0 on. */
const subscribed = async <S = never>(t: TestContext, options: SubscribeOptions<S> = {}, clientOptions?: Options) => {
  const fake = fakeClient(t, clientOptions)
  const subscription = fake.client.subscribe("a", options)
  fake.transport.last.welcome()
  fake.transport.last.confirm(await fake.transport.last.command("subscribe"))
  await settle()
  return { ...fake, subscription, events: collect(subscription) }
}

const messages = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** Answers the history command that was sent last. */
const answer = async (connection: FakeConnection, offsets: number[], more: object = {}) => {
  const { id, since, limit } = await connection.command("history")
  const messages = offsets.map((offset) => ({ type: "message", topic: "a", position: `E:${offset}`, time: 1, data: offset }))
  const position = messages.at(-1)?.position ?? since
  connection.frame({ type: "history", id, topic: "a", messages, position, recovered: true, more: false, ...more })
  await settle()
  return { since, limit }
}

test("a queue holds 1,000 events; when it is empty, the rest is read from the history", async (t) => {
  const { transport, events } = await subscribed(t)
  for (const offset of messages(1, 2500)) transport.last.message("a", offset)
  await transport.last.noCommand()
  assert.deepEqual(brief(await events.take(1000)), ["subscribed", ...messages(1, 999)])
  assert.deepEqual(await events.take(), [])
  assert.deepEqual(await answer(transport.last, messages(1000, 1999), { more: true }), { since: "E:999", limit: 1000 })
  assert.deepEqual(brief(await events.take(1000)), messages(1000, 1999))
  await transport.last.noCommand()
  assert.deepEqual(await events.take(), [])
  assert.deepEqual((await answer(transport.last, messages(2000, 2500))).since, "E:1999")
  transport.last.message("a", 2501)
  await transport.last.noCommand()
  assert.deepEqual(brief(await events.take()), messages(2000, 2501))
})

test("what arrives while the history is read is neither lost nor doubled", async (t) => {
  const { transport, events } = await subscribed(t, { buffer: 3 })
  for (const offset of messages(1, 5)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed", 1, 2])
  transport.last.message("a", 6)
  await answer(transport.last, [3, 4, 5])
  const [leave, again] = transport.last.commands.splice(0) as any
  assert.deepEqual([leave.type, again.type, again.since], ["unsubscribe", "subscribe", { a: "E:5" }])
  assert.deepEqual(brief(await events.take()), [3, 4, 5])
  transport.last.confirm(again, "E:5", { replay: 1 })
  transport.last.message("a", 6)
  assert.deepEqual(brief(await events.take()), ["subscribed", 6])
})

test("a queue holds 1 MiB", async (t) => {
  const { transport, events } = await subscribed(t)
  for (const offset of messages(1, 5)) transport.last.message("a", offset, "x".repeat(300_000))
  assert.deepEqual((await events.take()).map(({ position }: any) => position), ["E:0", "E:1", "E:2", "E:3"])
  assert.equal((await answer(transport.last, [4, 5])).since, "E:3")
})

test("a message of more than 1 MiB fits into an empty queue", async (t) => {
  const { transport, events } = await subscribed(t)
  assert.deepEqual(brief(await events.take()), ["subscribed"])
  transport.last.message("a", 1, "x".repeat(2 << 20))
  assert.equal((await events.take()).length, 1)
})

test("what the history does not have any more is a gap", async (t) => {
  const { transport, events } = await subscribed(t, { buffer: 4 })
  for (const offset of messages(1, 9)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed", 1, 2, 3])
  await answer(transport.last, [8, 9], { recovered: false })
  const [leave, again] = transport.last.commands.splice(0) as any
  assert.deepEqual([leave.type, again.since, again.last], ["unsubscribe", {}, 1000], "the gap ends where the server's messages begin")
  transport.last.confirm(again, "E:7", { replay: 2 })
  for (const offset of messages(8, 10)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed", "gap overflow E:7", 8, 9])
})

test("a gap while the history is read makes it useless", async (t) => {
  const { transport, events } = await subscribed(t, { buffer: 2 })
  for (const offset of messages(1, 3)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed", 1])
  transport.last.frame({ type: "gap", topic: "a", position: "F:1" })
  await answer(transport.last, [2, 3])
  transport.last.frame({ type: "message", topic: "a", position: "F:2", time: 1, data: "x" })
  assert.deepEqual(brief(await events.take()), ["gap server F:1", "x"])
})

test("other subscriptions to the topic see nothing of a slow one", async (t) => {
  const { client, transport, events } = await subscribed(t, { buffer: 2 })
  const fast = collect(client.subscribe("a"))
  assert.deepEqual(brief(await fast.take()), ["subscribed"])
  for (const offset of messages(1, 3)) transport.last.message("a", offset)
  assert.deepEqual(brief(await fast.take()), [1, 2, 3])
  assert.deepEqual(brief(await events.take()), ["subscribed", 1])
  transport.last.message("a", 4)
  await answer(transport.last, [2, 3])
  transport.last.confirm(transport.last.commands.at(-1), "E:3", { replay: 1 })
  for (const offset of messages(4, 5)) transport.last.message("a", offset)
  assert.deepEqual(brief(await fast.take()).filter((event) => event !== "subscribed"), [4, 5])
  assert.deepEqual(brief(await events.take()), [2, 3, "subscribed"])
})

test("the mode latest leaves out all but the newest message", async (t) => {
  const { transport, events } = await subscribed(t, { mode: "latest" })
  for (const offset of messages(1, 3)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed", "skipped E:0 E:2", 3])
  transport.last.message("a", 4)
  transport.last.frame({ type: "skipped", topic: "a", from: "E:4", to: "E:8" })
  transport.last.message("a", 9)
  assert.deepEqual(brief(await events.take()), ["skipped E:3 E:8", 9])
  transport.last.message("a", 10)
  assert.deepEqual(brief(await events.take()), [10])
})

test("the server is asked for the mode latest only if all subscriptions want it", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  client.subscribe("a", { mode: "latest" })
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.equal(command.mode, "latest")
  transport.last.confirm(command, "E:3")
  const other = client.subscribe("a")
  await settle()
  const [leave, again] = transport.last.commands.splice(0) as any
  assert.deepEqual([leave.type, again.mode, again.since], ["unsubscribe", "all", { a: "E:3" }])
  transport.last.confirm(again, "E:3")
  other.close()
  await wait(100)
  assert.equal((transport.last.commands.at(-1) as any).mode, "latest")
})

test("a gap follows when the server cannot resume", async (t) => {
  for (const [position, reason] of [["E:9", "expired"], ["F:2", "restarted"]] as const)
    await t.test(reason, async (t) => {
      const { transport, events, wait } = await subscribed(t)
      transport.last.message("a", 1)
      transport.last.end()
      await wait(250)
      transport.last.welcome()
      const command = await transport.last.command("subscribe")
      assert.deepEqual(command.since, { a: "E:1" })
      transport.last.confirm(command, position, { recovered: false })
      const taken = await events.take()
      assert.deepEqual(brief(taken), ["subscribed", 1, "disconnected", "subscribed", `gap ${reason} ${position}`])
      assert.equal((taken[3] as any).recovered, false)
      const next = position.replace(/\d+$/, "10")
      transport.last.frame({ type: "message", topic: "a", position: next, time: 1, data: "next" })
      assert.deepEqual(brief(await events.take()), ["next"])
    })
})

test("a gap follows when the first since is not covered", async (t) => {
  const { client, transport } = fakeClient(t)
  const events = collect(client.subscribe("a", { since: at("D:5") }))
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:2", { recovered: false })
  assert.deepEqual(brief(await events.take()), ["subscribed", "gap restarted E:2"])
})

test("a gap of the server is passed on, and so is a new epoch without one", async (t) => {
  const { transport, events } = await subscribed(t)
  transport.last.frame({ type: "gap", topic: "a", position: "F:3" })
  transport.last.frame({ type: "message", topic: "a", position: "F:4", time: 1, data: "x" })
  transport.last.frame({ type: "message", topic: "a", position: "G:1", time: 1, data: "y" })
  assert.deepEqual(brief(await events.take()), ["subscribed", "gap server F:3", "x", "gap server G:1"])
})

test("repeated and old messages are ignored", async (t) => {
  const { transport, events } = await subscribed(t)
  for (const offset of [1, 2, 2, 1, 10, 9]) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed", 1, 2, 10])
})

test("messages before the answer and after the end of a subscription are ignored", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const subscription = client.subscribe("a")
  const events = collect(subscription)
  transport.last.welcome()
  transport.last.message("a", 1)
  transport.last.confirm(await transport.last.command("subscribe"), "E:1")
  transport.last.message("a", 2)
  assert.deepEqual(brief(await events.take()), ["subscribed", 2])
  subscription.close()
  await wait(100)
  transport.last.message("a", 3)
  const again = collect(client.subscribe("a"))
  transport.last.message("a", 4)
  assert.deepEqual(brief(await again.take()), [])
})

test("the state comes first, and messages continue after its position", async (t) => {
  let resolve!: (snapshot: { state: string; position: Position }) => void
  const { transport, events } = await subscribed(t, { getState: () => new Promise<{ state: string; position: Position }>((f) => (resolve = f)) })
  for (const offset of messages(1, 3)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed"])
  resolve({ state: "two", position: at("E:2") })
  assert.deepEqual(brief(await events.take()), ["state two E:2"])
  const again = transport.last.commands.at(-1) as any
  assert.deepEqual(again.since, { a: "E:2" })
  transport.last.confirm(again, "E:2", { replay: 1 })
  for (const offset of messages(3, 4)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed", 3, 4])
})

test("a state that is newer than the messages needs no command", async (t) => {
  const { transport, events } = await subscribed(t, { getState: async () => ({ state: "five", position: at("E:5") }) })
  for (const offset of messages(4, 6)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed", "state five E:5", 6])
  await transport.last.noCommand()
})

test("without a position, messages continue after the answer to the subscription", async (t) => {
  let resolve!: (state: string) => void
  const { transport, events } = await subscribed(t, { getState: () => new Promise<string>((f) => (resolve = f)) })
  transport.last.message("a", 1)
  resolve("x")
  assert.deepEqual(brief(await events.take()), ["subscribed", "state x E:0"])
  const again = transport.last.commands.at(-1) as any
  assert.deepEqual(again.since, { a: "E:0" })
  transport.last.confirm(again, "E:0")
  transport.last.message("a", 1)
  assert.deepEqual(brief(await events.take()), ["subscribed", 1])
})

test("a gap loads the state again, and stops what is being loaded", async (t) => {
  const signals: AbortSignal[] = []
  const resolve: ((state: string) => void)[] = []
  const { transport, events } = await subscribed(t, {
    getState({ topic, signal }) {
      assert.equal(topic, "a")
      signals.push(signal)
      return new Promise<string>((f) => resolve.push(f))
    },
  })
  transport.last.frame({ type: "gap", topic: "a", position: "F:7" })
  await settle()
  assert.deepEqual(signals.map((signal) => signal.aborted), [true, false])
  resolve[0]!("old")
  resolve[1]!("new")
  await settle()
  transport.last.frame({ type: "message", topic: "a", position: "F:8", time: 1, data: 8 })
  assert.deepEqual(brief(await events.take()), ["subscribed", "gap server F:7", "state new F:7", 8])
})

test("a reconnect without loss does not load the state", async (t) => {
  let calls = 0
  const { transport, events, wait } = await subscribed(t, { getState: () => ++calls })
  transport.last.message("a", 1)
  transport.last.end()
  await wait(250)
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:1")
  assert.deepEqual(brief(await events.take()), ["subscribed", "state 1 E:0", 1, "disconnected", "subscribed"])
})

test("getState that fails is tried again, five times", async (t) => {
  let calls = 0
  const { events, wait } = await subscribed(t, {
    getState: async () => {
      calls++
      throw new Error("no")
    },
  })
  for (const pause of [250, 500, 1000]) await wait(pause)
  assert.equal(calls, 4)
  assert.deepEqual(brief(await events.take()), ["subscribed"])
  await wait(2000)
  assert.equal(calls, 5)
  await assert.rejects(events.take(), { code: "callback_failed", topic: "a" })
})

test("a state of another epoch does not fit, and is loaded again", async (t) => {
  let position = "D:5"
  const { events, wait } = await subscribed(t, { getState: async () => ({ state: "x", position: at(position) }) })
  position = "E:0"
  assert.deepEqual(brief(await events.take()), ["subscribed"])
  await wait(250)
  assert.deepEqual(brief(await events.take()), ["state x E:0"])
})

test("a slow subscriber that lost messages loads the state again", async (t) => {
  let calls = 0
  const { transport, events, wait } = await subscribed(t, { buffer: 3, getState: () => ++calls })
  for (const offset of messages(1, 9)) transport.last.message("a", offset)
  transport.last.end()
  await wait(250)
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "F:0", { recovered: false })
  assert.deepEqual(brief(await events.take()), ["subscribed", "state 1 E:0", 1])
  await answer(transport.last, [], { recovered: false, position: "F:0" })
  transport.last.confirm(transport.last.commands.at(-1), "F:0")
  assert.deepEqual(brief(await events.take()), ["subscribed", "gap overflow F:0", "state 2 F:0"])
})

test("the list of members comes although they were counted while the state was loaded", async (t) => {
  const { client, transport } = fakeClient(t)
  let resolve!: (state: string) => void
  const events = collect(client.subscribe("a", { presence: true, getState: () => new Promise<string>((f) => (resolve = f)) }))
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  const list = async () => {
    const { id } = await transport.last.command("presence")
    transport.last.frame({ type: "presence", id, topic: "a", count: 1, subscribers: 1, members: [{ sub: "u1" }] })
  }
  await list()
  resolve("x")
  await list()
  assert.deepEqual(brief(await events.take()), ["subscribed", "state x E:0", "present"])
})

test("a state that the server's messages do not reach is loaded again, after a longer wait each time", async (t) => {
  let calls = 0
  const { client, transport, wait } = fakeClient(t)
  const events = collect(client.subscribe("a", { getState: () => ({ state: ++calls, position: at("E:1") }) }))
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:200")
  const again = async () => {
    await settle()
    return transport.last.commands.splice(0).at(-1)
  }
  for (const [i, pause] of [500, 1000, 2000].entries()) {
    transport.last.confirm(await again(), "E:200", { recovered: false })
    await wait(pause - 1)
    assert.equal(calls, i + 1)
    await wait(1)
    assert.equal(calls, i + 2)
  }
  await events.take()
  transport.last.confirm(await again(), "E:1", { replay: 1 })
  transport.last.message("a", 200)
  assert.deepEqual(brief(await events.take()), ["subscribed", 200])
})

test("a queue has room for at least one message of the history", async (t) => {
  const { transport, events } = await subscribed(t, { buffer: 0 })
  for (const offset of messages(1, 2)) transport.last.message("a", offset)
  assert.deepEqual(brief(await events.take()), ["subscribed"])
  assert.equal((await answer(transport.last, [1], { more: true })).limit, 1)
  assert.deepEqual(brief(await events.take()), [1])
})
