import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"
import WebSocket from "ws"

import { connect, type Need, NotifluxError, type Position } from "notiflux"
import { connectPatterns, type PatternEvent, type PatternOptions, type PatternSubscription } from "notiflux/patterns"
import { type FakeConnection, FakeTransport, settle } from "./fake.js"
import { randomFrom, startScissors } from "./proxy.js"
import { startServer, token } from "./server.js"
import { until } from "./watch.js"

const at = (text: string) => text as Position
const cuts = Number(process.env.CUTS ?? 50)
const seed = Number(process.env.SEED ?? Date.now() % 1e9)

/** Collects the events of a subscription, in short. */
const collect = (subscription: AsyncIterable<PatternEvent>) => {
  const got: unknown[] = []
  void (async () => {
    try {
      for await (const event of subscription) got.push(event.type === "message" ? event.data : event.type === "gap" ? event.reason : event.type)
    } catch (error) {
      got.push((error as NotifluxError).code)
    }
  })()
  return got
}

const begin = (t: TestContext, pattern: `${string}*`, options: PatternOptions = {}, source?: (need: Need) => string | null) => {
  const transport = new FakeTransport()
  const client = connectPatterns("http://test", { transports: [transport], ...(source && { token: source }) })
  t.after(() => client.close())
  const subscription = client.subscribePattern(pattern, options)
  return { transport, subscription }
}

const confirm = (connection: FakeConnection, { id, patterns }: any, position = "E:0", more: object = {}) =>
  connection.frame({ type: "subscribed", id, topics: {}, patterns: { [patterns[0]]: { position, recovered: true, replay: 0, ...more } } })

const mark = (connection: FakeConnection, pattern: string, offset: number) => connection.frame({ type: "position", pattern, position: "E:" + offset })

/** Lets the client connect again. */
const again = async (transport: FakeTransport): Promise<FakeConnection> => {
  const { length } = transport.opened
  await until(() => transport.opened.length > length)
  transport.last.welcome()
  return transport.last
}

test("a pattern has a connection, a command and marks of its own", async (t) => {
  const { transport, subscription } = begin(t, "room:*", { since: at("E:4") })
  const got = collect(subscription)
  const { last } = transport
  last.welcome()
  const { id, ...command } = await last.command("subscribe")
  assert.deepEqual(command, { type: "subscribe", patterns: ["room:*"], since: { "room:*": "E:4" } })
  confirm(last, { id, ...command }, "E:4", { replay: 1 })
  await subscription.ready
  last.message("room:2", 5)
  mark(last, "room:*", 5)
  last.message("room:1", 6)
  await settle()
  assert.deepEqual(got, ["subscribed", 5, 6])
  assert.equal(subscription.position, "E:5")
  mark(last, "room:*", 6)
  await settle()
  // The loop has asked for the next event already.
  assert.equal(subscription.position, "E:6")
})

test("a mark counts when everything before it was handled", async (t) => {
  const { transport, subscription } = begin(t, "room:*")
  const { last } = transport
  last.welcome()
  confirm(last, await last.command("subscribe"))
  last.message("room:1", 1)
  last.message("room:2", 2)
  mark(last, "room:*", 2)
  const iterator = subscription[Symbol.asyncIterator]()
  const seen: unknown[] = []
  for (let i = 0; i < 3; i++) {
    await iterator.next()
    seen.push(subscription.position)
  }
  assert.deepEqual(seen, [undefined, "E:0", "E:0"])
  mark(last, "room:*", 3) // while the last message is handled
  void iterator.next()
  await settle()
  assert.equal(subscription.position, "E:3")
})

test("resuming drops what came before", async (t) => {
  t.mock.method(Math, "random", () => 0)
  const { transport, subscription } = begin(t, "room:*")
  const got = collect(subscription)
  let { last } = transport
  last.welcome()
  confirm(last, await last.command("subscribe"))
  last.message("room:1", 1)
  mark(last, "room:*", 1)
  last.message("room:1", 2)
  last.message("room:2", 3)
  last.end()
  last = await again(transport)
  const command = await last.command("subscribe")
  assert.deepEqual(command.since, { "room:*": "E:1" })
  confirm(last, command, "E:1", { replay: 3 })
  last.message("room:1", 2)
  last.message("room:2", 3)
  last.message("room:2", 4)
  await settle()
  assert.deepEqual(got, ["subscribed", 1, 2, 3, "disconnected", "subscribed", 4])
})

test("what cannot be resumed is a gap", async (t) => {
  t.mock.method(Math, "random", () => 0)
  const { transport, subscription } = begin(t, "room:*", { since: at("E:5") })
  const got = collect(subscription)
  let { last } = transport
  last.welcome()
  confirm(last, await last.command("subscribe"), "E:90", { recovered: false })
  last.message("room:1", 91)
  last.frame({ type: "gap", pattern: "room:*", position: "E:95" })
  await settle()
  assert.equal(subscription.position, "E:95")
  last.end()
  last = await again(transport)
  confirm(last, await last.command("subscribe"), "F:0", { recovered: false })
  await settle()
  assert.deepEqual(got, ["subscribed", "expired", 91, "server", "disconnected", "subscribed", "restarted"])
})

test("a loop that is behind begins again at the mark", async (t) => {
  const { transport, subscription } = begin(t, "room:*", { buffer: 3 })
  const { last } = transport
  last.welcome()
  confirm(last, await last.command("subscribe"))
  last.message("room:1", 1)
  mark(last, "room:*", 1)
  last.message("room:2", 2)
  last.message("room:1", 3) // has no room
  mark(last, "room:*", 3)
  const got = collect(subscription)
  await settle()
  const [unsubscribe, command] = last.commands.splice(0) as any[]
  assert.deepEqual([unsubscribe.type, unsubscribe.patterns, command.since], ["unsubscribe", ["room:*"], { "room:*": "E:1" }])
  last.message("room:1", 4, "too early")
  confirm(last, command, "E:1", { replay: 2 })
  last.message("room:2", 2)
  last.message("room:1", 3)
  await settle()
  assert.deepEqual(got, ["subscribed", 1, 2, 3])
})

test("a loop that is too slow gets a gap", async (t) => {
  const { transport, subscription } = begin(t, "room:*", { buffer: 1 })
  const { last } = transport
  last.welcome()
  confirm(last, await last.command("subscribe"))
  last.message("room:1", 1)
  const got = collect(subscription)
  await settle()
  confirm(last, last.commands.at(-1), "E:9", { recovered: false })
  await settle()
  assert.deepEqual(got, ["subscribed", "overflow"])
})

test("the source of tokens is asked for the pattern", async (t) => {
  const needs: object[] = []
  const { transport, subscription } = begin(t, "a*", {}, ({ signal: _, ...need }) => {
    needs.push(need)
    return need.code ? null : "t1"
  })
  const got = collect(subscription)
  const { last } = transport
  last.welcome()
  const command = await last.command("subscribe")
  assert.equal(command.token, "t1")
  confirm(last, command)
  last.frame({ type: "unsubscribed", topics: [], patterns: ["a*"], code: "token_revoked" })
  await settle()
  assert.deepEqual(needs, [
    { scope: "subscribe", topics: [], patterns: ["a*"] },
    { scope: "subscribe", topics: [], patterns: ["a*"], code: "token_revoked" },
  ])
  assert.deepEqual(got, ["subscribed", "token_revoked"])
  assert.ok(last.isClosed)
})

test("a server that is too old is named", async (t) => {
  const { transport, subscription } = begin(t, "a*")
  const { last } = transport
  last.welcome()
  const { id } = await last.command("subscribe")
  last.frame({ type: "error", id, code: "malformed", message: "`topics` is missing", retry: false })
  await assert.rejects(subscription.ready, { code: "malformed", topic: "a*", message: /too old for subscriptions to patterns/ })
})

test("what is no pattern throws", () => {
  const client = connectPatterns("http://test", { transports: [new FakeTransport()] })
  assert.throws(() => client.subscribePattern("room" as never), /"room" is not a pattern/)
})

test("handlers, signals and close", async (t) => {
  const { transport } = begin(t, "a*")
  transport.last.end()
  const other = new FakeTransport()
  const client = connectPatterns<{ [topic: `n:${string}`]: number }>("http://test", { transports: [other] })
  const got: unknown[] = []
  const stop = new AbortController()
  const subscription = client.subscribePattern("n:*", {
    signal: stop.signal,
    onMessage: ({ topic, data }) => got.push(`${topic} ${data.toFixed(1)}`),
    onGap: "ignore",
    onEvent: (event) => got.push(event.type),
  })
  other.last.welcome()
  confirm(other.last, await other.last.command("subscribe"))
  other.last.message("n:1", 1)
  await settle()
  stop.abort()
  await settle()
  assert.deepEqual(got, ["subscribed", "n:1 1.0"])
  assert.ok(other.last.isClosed)
  const aborted = client.subscribePattern("n:*", { signal: stop.signal })
  await assert.rejects(aborted.ready, { code: "closed" })
  const open: PatternSubscription = client.subscribePattern("n:*")
  client.close()
  await assert.rejects(open.ready, { code: "closed" })
  assert.equal(subscription.position, "E:0")
})

for (const transport of ["websocket", "stream", "poll"] as const)
  test(`${cuts} cuts of a pattern over ${transport}`, { timeout: 600_000 }, async (t) => {
    t.diagnostic(`SEED=${seed}`)
    const random = randomFrom(seed)
    const real = Math.random
    t.mock.method(Math, "random", () => real() / 500) // so that the client hurries
    const bearer = token({ patterns: ["room:*"] })
    const server = await startServer(t)
    const scissors = await startScissors(t, server.url, random)
    const patterns = connectPatterns(scissors.url, { transports: [transport], WebSocket: WebSocket as never, token: bearer })
    t.after(() => patterns.close())
    const readers = [1000, 7].map((buffer) => {
      const got: unknown[][] = [[], [], []]
      const subscription = patterns.subscribePattern("room:*", { buffer })
      let resumed = 0
      void (async () => {
        for await (const event of subscription) {
          assert.notEqual(event.type, "gap")
          if (event.type === "message") got[+event.topic.at(-1)!]!.push(event.data)
          else resumed++
        }
      })()
      return { got, subscription, resumed: () => resumed }
    })
    await Promise.all(readers.map(({ subscription }) => subscription.ready))
    const publisher = connect(server.url, { WebSocket: WebSocket as never, token: bearer })
    t.after(() => publisher.close())
    const sent: unknown[][] = [[], [], []]
    let n = 0
    while (scissors.cut < cuts) {
      const which = Math.floor(random() * 3)
      sent[which]!.push(++n)
      await publisher.publish("room:" + which, n)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    scissors.rest()
    await until(() => readers.every(({ got }) => got.flat().length >= n))
    t.diagnostic(`${scissors.cut} cuts, ${n} messages, ${readers.map((reader) => reader.resumed())} confirmations and ends`)
    for (const { got } of readers) assert.deepEqual(got, sent)
  })

test("with the server: from a position on, and denied", async (t) => {
  const server = await startServer(t)
  const options = { WebSocket: WebSocket as never, token: token({ patterns: ["room:*"] }) }
  const client = connect(server.url, options)
  const patterns = connectPatterns(server.url, options)
  t.after(() => (patterns.close(), client.close()))
  const first = patterns.subscribePattern("room:*")
  const got = collect(first)
  await first.ready
  for (let n = 0; n < 5; n++) await client.publish("room:" + (n % 2), n)
  await until(() => got.length === 6)
  await until(() => first.position?.endsWith(":5") === true)
  await client.publish("room:7", "last")
  const since = first.position!
  first.close()
  const second = collect(patterns.subscribePattern("room:*", { since }))
  const third = collect(patterns.subscribePattern("room:*", { since: at("another:1") }))
  const denied = patterns.subscribePattern("roo*")
  await assert.rejects(denied.ready, { code: "topic_denied", topic: "roo*" })
  await until(() => second.length === 2 && third.length === 2)
  assert.deepEqual([second, third], [["subscribed", "last"], ["subscribed", "restarted"]])
})
