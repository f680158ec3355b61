import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { type TestContext, test } from "node:test"

import { connect, type Event, type Frame, type Options } from "notiflux"
import { connectPatterns } from "notiflux/patterns"
import { type TestServer, testServer } from "notiflux/testing"
import { brief, collect, settle } from "./fake.js"

const vectors = process.env.VECTORS ?? new URL("../../../internal/wire/testdata", import.meta.url).pathname

const read = (file: string): { valid: any[]; invalid: any[] } => ({ valid: [], invalid: [], ...JSON.parse(readFileSync(`${vectors}/${file}`, "utf8")) })

/** Opens a connection of the protocol, without a client. */
const open = async (server: TestServer) => {
  const frames: Frame[] = []
  const connection = server.open({ frame: (frame) => frames.push(frame), end() {} })
  const take = async () => {
    await settle()
    return frames.splice(0)
  }
  assert.equal((await take())[0]?.type, "welcome")
  return {
    take,
    async send(command: any): Promise<any[]> {
      connection.send(command)
      return take()
    },
  }
}

const setUp = (t: TestContext, options: Options = {}) => {
  const server = testServer()
  const client = connect<any>("http://push.example.com", { transports: [server], ...options })
  t.after(() => client.close())
  return { server, client }
}

const commands = readdirSync(vectors).filter((file) => /^command.*\.json$/.test(file) && file !== "command-auth.json")

for (const file of commands)
  test(`${file}: valid commands are answered, others are refused`, async () => {
    const { valid, invalid } = read(file)
    for (const { name, input, parsed } of valid) {
      const { send } = await open(testServer())
      const [answer] = await send(JSON.parse(input))
      const expected = { subscribe: "subscribed", unsubscribe: "unsubscribed", broadcast: "broadcasted", ping: "pong" }[parsed.type as string] ?? parsed.type
      assert.deepEqual([answer.type, answer.id], [expected, parsed.id], name)
      const refused = Object.fromEntries(Object.entries<any>(answer.refused ?? {}).map(([topic, { code }]) => [topic, code]))
      if (parsed.type === "subscribe") {
        assert.deepEqual(Object.keys(answer.topics).sort(), [...new Set(parsed.topics)].sort(), name)
        const { "*": everything, ...others } = refused // No token allows it.
        assert.deepEqual([...Object.keys(answer.patterns ?? {}), ...(everything ? ["*"] : [])].sort(), [...(parsed.patterns ?? [])].sort(), name)
        assert.deepEqual(others, parsed.refused ?? {}, name)
      }
    }
    const { send } = await open(testServer())
    for (const { name, input, code, id } of invalid) {
      let command
      try {
        command = JSON.parse(input)
      } catch {
        continue // A client whose transport takes objects cannot send this.
      }
      // Nor what an object does not show: names that come twice, the form of numbers, how deep a member goes that nobody reads.
      if (code === "too_large" || Array.isArray(command) || typeof command !== "object" || !command || "x" in command) continue
      if (JSON.stringify(command).replaceAll(/\s/g, "") !== input.replaceAll(/\s/g, "") && !input.includes("\\")) continue
      if (input.includes("\\u0061") || input.includes("\\u0069")) continue
      const [answer] = await send(command)
      assert.deepEqual([answer?.type, answer?.code, answer?.id], ["error", code, id], `${name}: ${input}`)
    }
  })

test("frames have the members of the vectors", async () => {
  const server = testServer()
  const { send, take } = await open(server)
  const frames = await send({ type: "subscribe", id: 1, topics: ["a", ""], presence: true })
  frames.push(...(await send({ type: "broadcast", id: 2, topic: "a", message: { x: 1 } })))
  frames.push(...(await send({ type: "history", id: 3, topic: "a" })))
  frames.push(...(await send({ type: "presence", id: 4, topic: "a" })))
  frames.push(...(await send({ type: "ping", id: 5 })))
  frames.push(...(await send({ type: "broadcast", id: 6 })))
  server.join("a", { sub: "ann", info: {} })
  server.leave("a", "ann")
  server.gap("a")
  frames.push(...(await send({ type: "subscribe", id: 8, patterns: ["a*", "b"] })))
  server.publish("ab", 1)
  server.gap("ab")
  frames.push(...(await take()))
  frames.push(...(await send({ type: "unsubscribe", id: 7 })))
  const types = frames.map(({ type }) => type)
  assert.deepEqual([...new Set(types)].sort(), ["broadcasted", "error", "gap", "history", "join", "leave", "message", "pong", "position", "presence", "subscribed", "unsubscribed"])
  for (const frame of frames) {
    const known = read(frame.type === "message" ? "message.json" : `frame-${frame.type}.json`).valid.map(({ value }) => Object.keys(value).sort().join())
    assert.ok(known.includes(Object.keys(frame).sort().join()), JSON.stringify(frame))
    if ("position" in frame) assert.match(frame.position, /^[a-z0-9]+:\d+$/)
  }
})

test("a client gets messages, publishes once with a key, and reads them", async (t) => {
  const { server, client } = setUp(t)
  server.publish("news", "old")
  const events = collect<Event>(client.subscribe("news", { last: 1 }))
  await server.subscribed("news")
  assert.equal(server.subscribers("news"), 1)
  server.publish("news", "new")
  const position = await client.publish("news", "mine", { key: "k" })
  assert.equal(await client.publish("news", "mine", { key: "k" }), position)
  await assert.rejects(client.publish("news", "other", { key: "k" }), { code: "key_reused" })
  assert.deepEqual(brief(await events.take()), ["subscribed", "old", "new", "mine"])
  assert.deepEqual(server.messages("news").map(({ data }) => data), ["old", "new", "mine"])
  assert.equal(await client.position("news"), position)
  const page = await client.history("news", { limit: 2 })
  assert.deepEqual(page.messages.map(({ data }) => data), ["new", "mine"])
  const first = await client.history("news", { since: server.messages("news")[0]!.position, limit: 1 })
  assert.deepEqual([first.messages[0]?.data, first.more, first.recovered], ["new", true, true])
})

for (const [name, harm, expected] of [
  ["a cut loses nothing", () => {}, ["away"]],
  ["what is forgotten is a gap", (server: TestServer) => server.forget("a"), ["gap expired test1:2"]],
  ["a restart is a gap", (server: TestServer) => server.restart(), ["gap restarted test2:0"]],
] as const)
  test(name, async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
    const { server, client } = setUp(t)
    const events = collect<Event>(client.subscribe("a"))
    await server.subscribed("a")
    server.publish("a", "here")
    assert.deepEqual(brief(await events.take()), ["subscribed", "here"])
    server.isDown = true
    server.cut({ code: 4202 })
    server.publish("a", "away")
    harm(server)
    await settle()
    assert.equal(client.state, "waiting")
    server.isDown = false
    t.mock.timers.tick(10_000)
    await server.subscribed("a")
    assert.deepEqual(brief(await events.take()), ["disconnected", "subscribed", ...expected])
  })

for (const [name, harm, expected] of [
  ["a cut loses nothing of a pattern", () => {}, ["away", "elsewhere"]],
  ["what is forgotten is a gap of its patterns", (server: TestServer) => server.forget("chat/1"), ["gap expired test1:5"]],
  ["what is forgotten of other topics is none", (server: TestServer) => server.forget("news"), ["away", "elsewhere"]],
  ["a restart is a gap of patterns", (server: TestServer) => server.restart(), ["gap restarted test2:0"]],
] as const)
  test(name, async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
    const server = testServer()
    const client = connectPatterns<any>("http://push.example.com", { transports: [server] })
    t.after(() => client.close())
    server.publish("chat/1", "old")
    const events = collect<any>(client.subscribePattern("chat/*"))
    await server.subscribed("chat/*")
    assert.equal(server.subscribers("chat/*"), 1)
    server.publish("chat/1", "here")
    assert.deepEqual(brief(await events.take()), ["subscribed", "here"])
    server.isDown = true
    server.cut()
    server.publish("chat/1", "away")
    server.publish("chat/2", "elsewhere")
    server.publish("news", "another")
    harm(server)
    await settle()
    server.isDown = false
    t.mock.timers.tick(10_000)
    await server.subscribed("chat/*")
    assert.deepEqual(brief(await events.take()), ["disconnected", "subscribed", ...expected])
  })

test("a message comes once, though several subscriptions match, until the last one ends", async () => {
  const server = testServer()
  const { send, take } = await open(server)
  const data = async () => (await take()).flatMap((frame) => (frame.type === "message" ? [frame.data] : []))
  const [begun] = await send({ type: "subscribe", patterns: ["a*", "ab*", "abc*"] })
  await send({ type: "unsubscribe", patterns: ["abc*"] })
  await send({ type: "subscribe", topics: ["abc"] })
  server.publish("abc", 1)
  assert.deepEqual(await data(), [1])
  const [answer, ...rest] = await send({ type: "subscribe", patterns: ["abc*"], since: { "abc*": begun.patterns["abc*"].position } })
  assert.deepEqual([answer.patterns["abc*"].replay, rest.length], [1, 2])
  await send({ type: "unsubscribe", topics: ["abc"] })
  await send({ type: "unsubscribe", patterns: ["a*", "abc*"] })
  server.publish("abc", 2)
  server.publish("a", 3)
  assert.deepEqual(await data(), [2])
  assert.deepEqual(await send({ type: "unsubscribe" }), [{ type: "unsubscribed", topics: [], patterns: ["ab*"] }])
  server.publish("abc", 4)
  assert.deepEqual(await data(), [])
})

test("patterns resume as on the real server", async () => {
  const server = testServer()
  const { send, take } = await open(server)
  const [begun] = await send({ type: "subscribe", patterns: ["a*"] })
  server.publish("ab", 1)
  server.publish("ab", 2)
  const place = (await take()).findLast(({ type }) => type === "position")!.position
  await send({ type: "unsubscribe" })
  const resume = async (since: Record<string, string>) => {
    const [{ patterns }, ...frames] = await send({ type: "subscribe", patterns: Object.keys(since), since })
    await send({ type: "unsubscribe" })
    const recovered = Object.values<any>(patterns).map((answer) => answer.recovered)
    return [recovered, frames.flatMap((frame) => (frame.type === "message" ? [frame.data] : []))]
  }
  assert.deepEqual(await resume({ "a*": place }), [[true], [2]], "a position is sent at intervals, so the last message comes again")
  assert.deepEqual(await resume({ "ab*": place }), [[false], []], "nobody had subscribed to it")
  server.publish("ab", 3)
  assert.deepEqual(await resume({ "ab*": "test1:2", "a*": begun.patterns["a*"].position }), [[true, true], [1, 2, 3]], "in the order of the topic")
  for (let i = 0; i < 1000; i++) server.publish("a", i)
  assert.deepEqual(await resume({ "a*": place }), [[false], []], "more than 1,000 followed")
})

test("patterns are refused", async (t) => {
  const server = testServer()
  const client = connectPatterns<any>("http://push.example.com", { transports: [server] })
  t.after(() => client.close())
  server.refuse("chat/*", "topic_denied")
  await assert.rejects(client.subscribePattern("chat/*").ready, { code: "topic_denied" })
  await assert.rejects(client.subscribePattern("*").ready, { code: "topic_denied" })
})

test("the server announces a gap, refuses topics, and has members", async (t) => {
  const token = (sub: string) => `x.${Buffer.from(JSON.stringify({ sub, info: { name: "Ä" } })).toString("base64url")}.x`
  const { server, client } = setUp(t, { token: token("ann") })
  const events = collect<Event>(client.subscribe("a", { presence: true }))
  await server.subscribed("a")
  server.join("a", { sub: "bob" })
  server.leave("a", "bob")
  server.gap("a")
  server.publish("a", "after")
  const taken = await events.take()
  assert.deepEqual(brief(taken), ["subscribed", "joined", "joined", "left", "gap server test1:1", "after", "present"].sort((a, b) => brief(taken).indexOf(a) - brief(taken).indexOf(b)))
  assert.deepEqual(await client.presence("a").then(({ members }) => members), [{ sub: "ann", info: { name: "Ä" } }])
  server.refuse("b", "topic_denied")
  await assert.rejects(client.subscribe("b").ready, { code: "topic_denied" })
  await assert.rejects(client.publish("b", 1), { code: "topic_denied" })
  server.refuse("b")
  await client.subscribe("b").ready
})
