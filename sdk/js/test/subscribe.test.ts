import assert from "node:assert/strict"
import { test } from "node:test"

import { NotifluxError, type Position } from "notiflux"
import { brief, collect, fakeClient, settle } from "./fake.js"

const at = (text: string) => text as Position

test("connect does nothing until the first subscription", async (t) => {
  const { client, transport } = fakeClient(t)
  await settle()
  assert.equal(transport.opened.length, 0)
  assert.equal(client.state, "idle")
  client.subscribe("a")
  assert.equal(transport.opened.length, 1)
  assert.equal(client.state, "connecting")
})

test("subscriptions that are made together share a command", async (t) => {
  const { client, transport } = fakeClient(t)
  client.subscribe("a")
  client.subscribe("b", { since: at("E:5") })
  client.subscribe("c", { last: 10 })
  transport.last.welcome()
  await settle()
  assert.deepEqual(
    transport.last.commands.map(({ id, ...command }) => command),
    [
      { type: "subscribe", topics: ["a", "b"], since: { b: "E:5" }, mode: "all", presence: false },
      { type: "subscribe", topics: ["c"], since: {}, last: 10, mode: "all", presence: false },
    ],
  )
})

test("a hundred topics take two commands", async (t) => {
  const { client, transport } = fakeClient(t)
  for (let i = 0; i < 100; i++) client.subscribe("t" + i)
  transport.last.welcome()
  await settle()
  assert.deepEqual(transport.last.commands.map((command: any) => command.topics.length), [64, 36])
})

test("a message is handled when the next one is asked for", async (t) => {
  const { client, transport } = fakeClient(t)
  const subscription = client.subscribe("a")
  assert.equal(subscription.position, undefined)
  const { iterator } = collect(subscription)
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:7")
  await subscription.ready
  transport.last.message("a", 8)
  await iterator.next()
  assert.equal(subscription.position, undefined)
  await iterator.next()
  assert.equal(subscription.position, "E:7")
  void iterator.next()
  await settle()
  assert.equal(subscription.position, "E:8")
})

test("a message is handled when the promise of the callback resolves", async (t) => {
  const { client, transport } = fakeClient(t)
  let resolve = () => {}
  const data: unknown[] = []
  const subscription = client.subscribe("a", {
    onGap: "ignore",
    onMessage(message) {
      data.push(message.data)
      return new Promise<void>((f) => (resolve = f))
    },
  })
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:7")
  transport.last.message("a", 8)
  transport.last.message("a", 9)
  await settle()
  assert.deepEqual([data, subscription.position], [[8], "E:7"])
  resolve()
  await settle()
  assert.deepEqual([data, subscription.position], [[8, 9], "E:8"])
})

test("a callback that fails gets the same event again, five times", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const errors: NotifluxError[] = []
  let calls = 0
  const subscription = client.subscribe("a", {
    onGap: "ignore",
    async onMessage(message) {
      calls++
      if (message.data === 1 && calls === 1) throw new Error("once")
      if (message.data === 2) throw new Error("always")
    },
    onError: (error) => errors.push(error),
  })
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.message("a", 1)
  await wait(250)
  assert.deepEqual([calls, subscription.position], [2, "E:1"])
  transport.last.message("a", 2)
  for (const pause of [250, 500, 1000, 2000]) await wait(pause)
  assert.equal(calls, 7)
  assert.equal(errors[0]?.code, "callback_failed")
  assert.equal((errors[0]?.cause as Error).message, "always")
  assert.equal(subscription.position, "E:1")
})

test("leaving the loop unsubscribes after 100 ms", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const subscription = client.subscribe("a")
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  for await (const _ of subscription) break
  await wait(99)
  await transport.last.noCommand()
  await wait(1)
  assert.deepEqual((await transport.last.command("unsubscribe")).topics, ["a"])
})

test("a component that is mounted twice, as in StrictMode, sends one command", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  client.subscribe("a", { last: 5 }).close()
  const second = client.subscribe("a", { last: 5 })
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.equal(command.last, 5)
  transport.last.confirm(command)
  await second.ready
  second.close()
  client.subscribe("a")
  await wait(1000)
  await transport.last.noCommand()
})

test("several subscriptions share a topic, and each gets everything", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const first = collect(client.subscribe("a"))
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:1")
  transport.last.message("a", 2)
  const second = client.subscribe("a")
  const events = collect(second)
  transport.last.message("a", 3)
  await transport.last.noCommand()
  assert.deepEqual(brief(await first.take()), ["subscribed", 2, 3])
  const taken = await events.take()
  assert.deepEqual(brief(taken), ["subscribed", 3])
  assert.equal((taken[0] as any).position, "E:2")
  second.close()
  transport.last.message("a", 4)
  assert.deepEqual(brief(await first.take()), [4])
  await wait(1000)
  await transport.last.noCommand()
})

test("a subscription that joins a topic begins at its own place", async (t) => {
  const { client, transport } = fakeClient(t)
  const first = collect(client.subscribe("a"))
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:10")
  const second = collect(client.subscribe("a", { since: at("E:8") }))
  await settle()
  const [leave, again] = transport.last.commands.splice(0) as any
  assert.deepEqual([leave.type, again.type, again.since], ["unsubscribe", "subscribe", { a: "E:8" }])
  transport.last.confirm(again, "E:8", { replay: 2 })
  for (const offset of [9, 10, 11]) transport.last.message("a", offset)
  assert.deepEqual(brief(await first.take()).filter((event) => event !== "subscribed"), [11])
  assert.deepEqual(brief(await second.take()), ["subscribed", 9, 10, 11])
})

test("a signal ends the loop", async (t) => {
  const { client, transport } = fakeClient(t)
  const abort = new AbortController()
  const events = collect(client.subscribe("a", { signal: abort.signal }))
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  assert.deepEqual(brief(await events.take()), ["subscribed"])
  transport.last.message("a", 1)
  abort.abort()
  assert.deepEqual(await events.iterator.next(), { done: true, value: undefined })
  const never = client.subscribe("b", { signal: abort.signal })
  await assert.rejects(never.ready, { code: "closed" })
  await transport.last.noCommand()
})

test("a refused topic ends its subscription after the events in the queue, and no other", async (t) => {
  const { client, transport } = fakeClient(t)
  const good = client.subscribe("a")
  const bad = client.subscribe("b")
  const events = collect(bad)
  transport.last.welcome()
  const { id } = await transport.last.command("subscribe")
  const refused = { b: { code: "topic_denied", message: "the token does not allow this topic" } }
  transport.last.frame({ type: "subscribed", id, topics: { a: { position: "E:0", recovered: true, replay: 0 } }, refused })
  await good.ready
  await assert.rejects(bad.ready, { code: "topic_denied", topic: "b", retry: false })
  await assert.rejects(events.iterator.next(), { code: "topic_denied", message: "the token does not allow this topic" })
  assert.deepEqual(await events.iterator.next(), { done: true, value: undefined })
})

test("a topic that the server cannot serve now is asked for again", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const subscription = client.subscribe("a")
  transport.last.welcome()
  const { id } = await transport.last.command("subscribe")
  transport.last.frame({ type: "subscribed", id, topics: {}, refused: { a: { code: "unavailable", message: "…" } } })
  await transport.last.noCommand()
  await wait(250)
  transport.last.confirm(await transport.last.command("subscribe"))
  await subscription.ready
})

test("one topic that spoils a command does not end the others", async (t) => {
  const { client, transport } = fakeClient(t)
  const good = client.subscribe("a")
  const bad = client.subscribe("\ud83d")
  transport.last.welcome()
  const { id } = await transport.last.command("subscribe")
  transport.last.frame({ type: "error", id, code: "malformed", message: "…", retry: false })
  await settle()
  const [first, second] = transport.last.commands.splice(0) as any
  assert.deepEqual([first.topics, second.topics.length], [["a"], 1])
  transport.last.confirm(first)
  transport.last.frame({ type: "error", id: second.id, code: "malformed", message: "…", retry: false })
  await good.ready
  await assert.rejects(bad.ready, { code: "malformed" })
})

test("closing the client ends everything", async (t) => {
  const { client, transport } = fakeClient(t)
  const subscription = client.subscribe("a")
  const events = collect(subscription)
  transport.last.welcome()
  await transport.last.command("subscribe")
  const next = events.iterator.next()
  await client.close()
  assert.deepEqual(await next, { done: true, value: undefined })
  assert.ok(transport.last.isClosed)
  assert.equal(client.state, "closed")
  await assert.rejects(client.subscribe("b").ready, { code: "closed" })
  await assert.rejects(client.publish("a", 1), { code: "closed" })
})

test("a subscription that joins with last takes nothing from the others", async (t) => {
  const { client, transport } = fakeClient(t)
  const first = collect(client.subscribe("a"))
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:10")
  const second = collect(client.subscribe("a", { last: 1 }))
  await settle()
  const [, again] = transport.last.commands.splice(0) as any
  for (const offset of [11, 12, 13]) transport.last.message("a", offset) // These were on the way.
  transport.last.confirm(again, "E:12", { replay: 1 })
  transport.last.message("a", 13)
  await settle()
  const [, back] = transport.last.commands.splice(0) as any
  assert.deepEqual(back.since, { a: "E:10" })
  transport.last.confirm(back, "E:10", { replay: 3 })
  for (const offset of [11, 12, 13, 14]) transport.last.message("a", offset)
  assert.deepEqual(brief(await first.take()), ["subscribed", "subscribed", 11, 12, 13, 14])
  assert.deepEqual(brief(await second.take()).filter((event) => event !== "subscribed"), [13, 14])
})

test("a handler is not called after close, and what it did not handle stays unhandled", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const data: unknown[] = []
  const subscription = client.subscribe("a", {
    onGap: "ignore",
    onMessage(message) {
      data.push(message.data)
      throw new Error("not now")
    },
  })
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.message("a", 1)
  transport.last.message("a", 2)
  await settle()
  subscription.close()
  await wait(10_000)
  assert.deepEqual([data, subscription.position], [[1], "E:0"])
})

test("a handler may close its subscription, and the client", async (t) => {
  for (const what of ["subscription", "client"] as const)
    await t.test(what, async (t) => {
      const { client, transport } = fakeClient(t)
      const data: unknown[] = []
      const subscription = client.subscribe("a", {
        onGap: "ignore",
        onMessage(message) {
          data.push(message.data)
          void (what === "client" ? client : subscription).close()
        },
      })
      transport.last.welcome()
      transport.last.confirm(await transport.last.command("subscribe"))
      transport.last.message("a", 1)
      transport.last.message("a", 2)
      await settle()
      assert.deepEqual([data, subscription.position], [[1], "E:1"])
    })
})

test("frames and members that the client does not know are ignored", async (t) => {
  const { client, transport } = fakeClient(t)
  const events = collect(client.subscribe("a"))
  transport.last.welcome({ future: {} })
  transport.last.confirm(await transport.last.command("subscribe"), "E:18446744073709551613", { future: 1 })
  for (const frame of [{ type: "future", topic: "a", position: "E:18446744073709551615" }, { type: "message" }, { type: "gap", topic: "b", position: "F:1" }, { type: "error", code: "future" }])
    transport.last.frame(frame)
  for (const offset of ["18446744073709551614", "18446744073709551613", "18446744073709551615"])
    transport.last.frame({ type: "message", topic: "a", position: `E:${offset}`, time: 1, data: offset, future: true })
  assert.deepEqual(brief(await events.take()), ["subscribed", "18446744073709551614", "18446744073709551615"])
})

test("a log that throws does not stop the client", async (t) => {
  t.mock.method(globalThis, "queueMicrotask", (f: () => void) => void Promise.resolve().then(f).catch(() => {}))
  const { client, transport } = fakeClient(t, {
    log() {
      throw new Error("the log is full")
    },
  })
  client.subscribe("a")
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  assert.equal(client.state, "connected")
})
