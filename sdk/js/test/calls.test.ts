// Publish, history, presence and position.

import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"

import type { NotifluxError, Options, Position } from "notiflux"
import { brief, collect, fakeClient, settle } from "./fake.js"

/** Returns a client with a connection. */
const connected = async (t: TestContext, options?: Options) => {
  const fake = fakeClient(t, options)
  fake.client.position("x").catch(() => {})
  fake.transport.last.welcome()
  const { id } = await fake.transport.last.command("history")
  fake.transport.last.frame({ type: "history", id, topic: "x", messages: [], position: "E:0", recovered: true, more: false })
  return fake
}

/** Watches a promise: returns a function that returns how it has ended. */
const outcome = (promise: Promise<unknown>) => {
  let result: unknown = "pending"
  promise.then(
    (value) => (result = value),
    (error: NotifluxError) => (result = error.code ?? error),
  )
  return async () => {
    await settle()
    return result
  }
}

test("publish sends the message with a key, and returns its position", async (t) => {
  const { client, transport } = await connected(t)
  const data = { text: "hello" }
  const result = outcome(client.publish("a", data))
  data.text = "changed"
  const { id, key, ...command } = await transport.last.command("broadcast")
  assert.deepEqual(command, { type: "broadcast", topic: "a", message: { text: "hello" } })
  assert.equal(typeof key, "string")
  transport.last.frame({ type: "broadcasted", id, topic: "a", position: "E:1" })
  assert.equal(await result(), "E:1")
})

test("publish takes a key, and any JSON value", async (t) => {
  const { client, transport } = await connected(t)
  for (const value of [null, "", 0, [1], true]) {
    client.publish("a", value, { key: "k1" }).catch(() => {})
    const { message, key } = await transport.last.command("broadcast")
    assert.deepEqual([message, key], [value, "k1"])
  }
  await assert.rejects(client.publish("a", 1n), TypeError)
})

test("publish connects, and keeps its order", async (t) => {
  const { client, transport } = fakeClient(t)
  const all = [1, 2, 3].map((n) => client.publish("a", n))
  transport.last.welcome()
  await settle()
  const commands = transport.last.commands as any[]
  assert.deepEqual(commands.map((command) => command.message), [1, 2, 3])
  commands.forEach(({ id }, i) => transport.last.frame({ type: "broadcasted", id, topic: "a", position: `E:${i + 1}` }))
  assert.deepEqual(await Promise.all(all), ["E:1", "E:2", "E:3"])
})

test("publish repeats with the same key when the connection ends", async (t) => {
  const { client, transport, wait } = await connected(t)
  const result = outcome(client.publish("a", 1))
  const first = await transport.last.command("broadcast")
  transport.last.end()
  await wait(250)
  transport.last.welcome()
  const { id, ...second } = await transport.last.command("broadcast")
  assert.deepEqual({ ...second, id: first.id }, first)
  transport.last.frame({ type: "broadcasted", id, topic: "a", position: "E:1" })
  assert.equal(await result(), "E:1")
})

for (const [code, retry, expected] of [
  ["unavailable", true, "retries"],
  ["over_capacity", true, "retries"],
  ["outcome_unknown", true, "retries"],
  ["topic_denied", false, "topic_denied"],
  ["key_reused", false, "key_reused"],
  ["something_new", false, "something_new"],
  ["something_new", true, "retries"],
] as const)
  test(`publish after ${code}, retry ${retry}: ${expected}`, async (t) => {
    const { client, transport, wait } = await connected(t)
    const result = outcome(client.publish("a", 1))
    const { id, key } = await transport.last.command("broadcast")
    transport.last.frame({ type: "error", id, code, message: "…", retry })
    if (expected !== "retries") return assert.equal(await result(), expected)
    await wait(249)
    await transport.last.noCommand()
    await wait(1)
    assert.equal((await transport.last.command("broadcast")).key, key)
  })

test("publish gives up after 100 s", async (t) => {
  const { client, transport, wait } = await connected(t)
  const sent = outcome(client.publish("a", 1))
  await transport.last.command("broadcast")
  await wait(99_999)
  assert.equal(await sent(), "pending")
  await wait(1)
  assert.equal(await sent(), "outcome_unknown")
})

test("what was never sent is not in doubt", async (t) => {
  const { client, wait } = fakeClient(t)
  const result = outcome(client.publish("a", 1, { timeout: 500 }))
  await wait(500)
  assert.equal(await result(), "timeout")
})

test("publish rejects when the server restarted between two attempts", async (t) => {
  const { client, transport, wait } = await connected(t)
  client.subscribe("b")
  transport.last.confirm(await transport.last.command("subscribe"))
  const result = outcome(client.publish("a", 1))
  await transport.last.command("broadcast")
  transport.last.end()
  await wait(250)
  transport.last.welcome()
  const again = await transport.last.command("subscribe") // The message waits until the epoch is known.
  transport.last.confirm(again, "F:0", { recovered: false })
  assert.equal(await result(), "outcome_unknown")
  await transport.last.noCommand()
})

test("publish repeats after a reconnect once the epoch is known to be the same", async (t) => {
  const { client, transport, wait } = await connected(t)
  client.subscribe("b")
  transport.last.confirm(await transport.last.command("subscribe"))
  const result = outcome(client.publish("a", 1))
  const { key } = await transport.last.command("broadcast")
  transport.last.end()
  await wait(250)
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  const { id, key: same } = await transport.last.command("broadcast")
  assert.equal(same, key)
  transport.last.frame({ type: "broadcasted", id, topic: "a", position: "F:1" })
  assert.equal(await result(), "outcome_unknown", "it may have been published in both epochs")
})

test("a restart does not matter to what the server refused, or what is sent once", async (t) => {
  const { client, transport, wait } = await connected(t)
  const refused = outcome(client.publish("a", 1))
  const { id } = await transport.last.command("broadcast")
  transport.last.frame({ type: "error", id, code: "draining", message: "…", retry: true })
  await settle()
  transport.last.end({ code: 1012 })
  await wait(250)
  transport.last.welcome()
  const again = await transport.last.command("broadcast")
  transport.last.frame({ type: "broadcasted", id: again.id, topic: "a", position: "F:1" })
  assert.equal(await refused(), "F:1")
})

test("a message that is too large is refused before it ends the connection", async (t) => {
  const { client, transport } = await connected(t)
  const tooLarge = outcome(client.publish("a", "é".repeat(41_000)))
  assert.equal(await tooLarge(), "too_large")
  await transport.last.noCommand()
  void client.publish("a", "x".repeat(81_000)).catch(() => {})
  await transport.last.command("broadcast")
})

test("a signal ends a call with its reason", async (t) => {
  const { client, transport } = await connected(t)
  const abort = new AbortController()
  const result = outcome(client.history("a", { signal: abort.signal }))
  await transport.last.command("history")
  abort.abort(new Error("enough"))
  assert.equal(((await result()) as Error).message, "enough")
  await assert.rejects(client.history("a", { signal: abort.signal }), { message: "enough" })
  await transport.last.noCommand()
})

test("what waits when the client is closed rejects", async (t) => {
  const { client, transport } = await connected(t)
  const published = outcome(client.publish("a", 1))
  const history = outcome(client.history("a"))
  await settle()
  assert.equal(transport.last.commands.length, 2)
  await client.close()
  assert.deepEqual([await published(), await history()], ["outcome_unknown", "closed"])
})

test("history, position and presence ask the server, again after a reconnect", async (t) => {
  const { client, transport, wait } = await connected(t)
  const history = outcome(client.history("a", { since: "E:1" as Position, limit: 5 }))
  const { id: _, ...command } = await transport.last.command("history")
  assert.deepEqual(command, { type: "history", topic: "a", since: "E:1", limit: 5 })
  transport.last.end()
  await wait(250)
  transport.last.welcome()
  const { id, ...again } = await transport.last.command("history")
  assert.deepEqual(again, command)
  const answer = { topic: "a", messages: [{ type: "message", topic: "a", position: "E:2", time: 5, data: 1 }], position: "E:2", recovered: true, more: false }
  transport.last.frame({ type: "history", id, ...answer })
  assert.deepEqual(await history(), { type: "history", ...answer })

  const position = outcome(client.position("a"))
  const limited = await transport.last.command("history")
  assert.equal(limited.limit, 0)
  transport.last.frame({ type: "history", id: limited.id, ...answer })
  assert.equal(await position(), "E:2")

  const presence = outcome(client.presence("a"))
  const asked = await transport.last.command("presence")
  transport.last.frame({ type: "presence", id: asked.id, topic: "a", count: 1, subscribers: 2, members: [{ sub: "u" }] })
  assert.deepEqual(await presence(), { type: "presence", topic: "a", count: 1, subscribers: 2, members: [{ sub: "u" }] })
})

test("a subscription with presence gets the members, joins and leaves", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const events = collect(client.subscribe("a", { presence: true }))
  const without = collect(client.subscribe("a"))
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.equal(command.presence, true)
  transport.last.confirm(command)
  const list = await transport.last.command("presence")
  transport.last.frame({ type: "presence", id: list.id, topic: "a", count: 1, subscribers: 1, members: [{ sub: "u1" }] })
  transport.last.frame({ type: "join", topic: "a", member: { sub: "u2" } })
  transport.last.frame({ type: "leave", topic: "a", members: [{ sub: "u1" }, { sub: "u2" }] })
  transport.last.frame({ type: "presence", topic: "a", count: 1234, subscribers: 2000 })
  const taken = (await events.take()) as any[]
  assert.deepEqual(brief(taken), ["subscribed", "present", "joined", "left", "present"])
  assert.deepEqual(taken.slice(1).map((event) => [event.members, event.count]), [
    [[{ sub: "u1" }], 1],
    [[{ sub: "u2" }], undefined],
    [[{ sub: "u1" }, { sub: "u2" }], undefined],
    [undefined, 1234],
  ])
  assert.deepEqual(brief(await without.take()), ["subscribed"])

  transport.last.end()
  await wait(250)
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  await transport.last.command("presence")
})

test("presence ends with the last subscription that wants it", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  client.subscribe("a")
  const present = client.subscribe("a", { presence: true })
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:3")
  await transport.last.command("presence")
  present.close()
  await wait(100)
  const [leave, again] = transport.last.commands.splice(0) as any
  assert.deepEqual([leave.type, again.presence, again.since], ["unsubscribe", false, { a: "E:3" }])
})

test("publish tries for at most 100 s, since the server forgets the key", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const published = client.publish("a", 1, { timeout: 300_000 })
  published.catch(() => {})
  transport.last.welcome()
  await transport.last.command("broadcast")
  await wait(100_000)
  await assert.rejects(published, { code: "outcome_unknown" })
})
