// The client with the real server, over each transport.

import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { test } from "node:test"
import { promisify } from "node:util"
import WebSocket from "ws"

import { connect, type Event, type Options } from "notiflux"
import { brief } from "./fake.js"
import { startServer, token } from "./server.js"

const topics = ["news", "other"]

type AnyEvent = Event<string, unknown, unknown>

/** Reads events until one satisfies the condition. */
const until = async (events: AsyncIterator<any>, condition: (event: AnyEvent) => boolean): Promise<AnyEvent[]> => {
  const seen: AnyEvent[] = []
  for (;;) {
    const { value, done } = await events.next()
    assert.ok(!done, `the subscription ended after ${JSON.stringify(seen)}`)
    seen.push(value)
    if (condition(value)) return seen
  }
}

const isMessage = (data: unknown) => (event: AnyEvent) => event.type === "message" && event.data === data

for (const transport of ["websocket", "stream", "poll"] as const) {
  const options = (more: Options = {}): Options => ({ transports: [transport], WebSocket: WebSocket as never, token: token({ topics }), ...more })

  test(`publish and subscribe over ${transport}`, async (t) => {
    const { url } = await startServer(t)
    const client = connect<{ news: { n: number } }>(url, options())
    t.after(() => client.close())
    const subscription = client.subscribe("news")
    await subscription.ready
    assert.equal(client.state, "connected")
    const first = await client.publish("news", { n: 1 })
    await client.publish("news", { n: 2 })
    const seen: Event[] = []
    for await (const event of subscription) {
      seen.push(event)
      if (event.type === "message" && event.data.n === 2) break
    }
    assert.deepEqual(brief(seen), ["subscribed", { n: 1 }, { n: 2 }])
    assert.equal(seen[1]?.type === "message" && seen[1].position, first)
    assert.equal(subscription.position, first, "the second message was not handled: the loop did not ask for another")
    const history = await client.history("news", { since: first })
    assert.deepEqual(history.messages.map((message) => message.data), [{ n: 2 }])
    assert.equal(await client.position("news"), history.position)
    const presence = await client.presence("news")
    assert.deepEqual([presence.count, presence.members], [0, []])
    await assert.rejects(client.publish("news", { n: "x".repeat(70_000) } as never), { code: "too_large" })
  })

  test(`begin with earlier messages, and after a position, over ${transport}`, async (t) => {
    const { url } = await startServer(t)
    const client = connect(url, options())
    t.after(() => client.close())
    const positions = []
    for (const n of [1, 2, 3, 4]) positions.push(await client.publish("news", n))
    const last = client.subscribe("news", { last: 2 })[Symbol.asyncIterator]()
    assert.deepEqual(brief(await until(last, isMessage(4))), ["subscribed", 3, 4])
    const since = client.subscribe("news", { since: positions[0]! })[Symbol.asyncIterator]()
    assert.deepEqual(brief(await until(since, isMessage(4))), ["subscribed", 2, 3, 4])
    await client.publish("news", 5)
    const more = await until(last, isMessage(5))
    assert.deepEqual(brief(more).filter((event) => event !== "subscribed"), [5])
  })

  test(`a restart of the server is a gap over ${transport}`, async (t) => {
    const server = await startServer(t)
    const client = connect(server.url, options())
    t.after(() => client.close())
    let state = "first"
    const events = client.subscribe("news", { getState: async () => state })[Symbol.asyncIterator]()
    await until(events, (event) => event.type === "state")
    await client.publish("news", 1)
    await until(events, isMessage(1))
    state = "second"
    await server.stop()
    await server.start()
    const seen = await until(events, (event) => event.type === "state")
    assert.deepEqual(brief(seen).slice(-3).map((event) => String(event).replace(/ \w+:0$/, "")), ["subscribed", "gap restarted", "state second"])
    await client.publish("news", 2)
    assert.deepEqual(brief(await until(events, isMessage(2))), [2])
  })

  test(`a subscription outlives its token over ${transport}`, async (t) => {
    const { url } = await startServer(t)
    const codes: unknown[] = []
    const client = connect(
      url,
      options({
        async token({ code, scope }) {
          codes.push(code)
          // The server ends what was subscribed to with the first one after a second.
          return token({ topics, scope, ...(codes.length === 1 && { until: 1 }) })
        },
      }),
    )
    t.after(() => client.close())
    const publisher = connect(url, options())
    t.after(() => publisher.close())
    const subscription = client.subscribe("news")
    const events = subscription[Symbol.asyncIterator]()
    await until(events, (event) => event.type === "subscribed")
    await publisher.publish("news", 1)
    await until(events, isMessage(1))
    await until(events, (event) => event.type === "subscribed" && codes.length === 2)
    await publisher.publish("news", 2)
    assert.deepEqual(brief(await until(events, isMessage(2))).filter((event) => event !== "subscribed"), [2])
    assert.deepEqual(codes, [undefined, "token_expired"])
  })

  test(`a topic that the token does not name is refused over ${transport}, and no other`, async (t) => {
    const { url } = await startServer(t)
    const client = connect(url, options())
    t.after(() => client.close())
    const good = client.subscribe("news")
    const bad = client.subscribe("secret")
    await assert.rejects(bad.ready, { code: "topic_denied", topic: "secret" })
    await good.ready
    await client.publish("news", 1)
    await until(good[Symbol.asyncIterator](), isMessage(1))
    await assert.rejects(client.publish("secret", 1), { code: "topic_denied" })
  })
}

test("members come and go", async (t) => {
  const { url } = await startServer(t)
  const member = (sub: string) => {
    const client = connect(url, { transports: ["websocket"], WebSocket: WebSocket as never, token: token({ topics, sub, info: { name: sub } }) })
    t.after(() => client.close())
    return client
  }
  const events = member("u1").subscribe("news", { presence: true })[Symbol.asyncIterator]()
  await until(events, (event) => event.type === "present" && event.members?.length === 1)
  const second = member("u2")
  await second.subscribe("news", { presence: true }).ready
  const seen = await until(events, (event) => event.type === "joined" && event.members.some(({ sub }) => sub === "u2"))
  assert.deepEqual((seen.at(-1) as any).members.at(-1), { sub: "u2", info: { name: "u2" } })
  assert.equal((await second.presence("news")).count, 2)
})

test("presence over a stream is unsupported", async (t) => {
  const { url } = await startServer(t)
  const client = connect(url, { transports: ["stream"], token: token({ topics }) })
  t.after(() => client.close())
  await assert.rejects(client.subscribe("news", { presence: true }).ready, { code: "unsupported" })
})

test("a client that reads slowly reads on in the history", async (t) => {
  const { url } = await startServer(t, "--history-messages=10000")
  const client = connect<{ news: number }>(url, { WebSocket: WebSocket as never, token: token({ topics }) })
  t.after(() => client.close())
  const subscription = client.subscribe("news", { buffer: 10 })
  await subscription.ready
  await Promise.all(Array.from({ length: 80 }, (_, n) => client.publish("news", n)))
  const seen = await until(subscription[Symbol.asyncIterator](), isMessage(79))
  assert.deepEqual(brief(seen).filter((event) => event !== "subscribed"), Array.from({ length: 80 }, (_, n) => n))
})

test("where WebSockets are blocked, it streams", async (t) => {
  const { url } = await startServer(t)
  class Blocked {
    onclose: ((event: unknown) => void) | null = null
    constructor() {
      setTimeout(() => this.onclose?.({ code: 1006 }), 1)
    }
    send() {}
    close() {}
  }
  const states: string[] = []
  const client = connect(url, { WebSocket: Blocked as never, token: token({ topics }) })
  client.on((state) => states.push(state))
  t.after(() => client.close())
  await client.subscribe("news").ready
  assert.deepEqual(states, ["connecting", "waiting", "connecting", "waiting", "connecting", "connected"])
})

test("without options it works on this runtime", async (t) => {
  const { url } = await startServer(t)
  const client = connect(url + "/", { token: token({ topics }) })
  t.after(() => client.close())
  const subscription = client.subscribe("news")
  await subscription.ready
  await client.publish("news", null)
  await until(subscription[Symbol.asyncIterator](), isMessage(null))
})

test("a closed client keeps no process alive, whatever it was about to try again", async (t) => {
  const { url } = await startServer(t)
  const program = `
    import { connect } from "notiflux"
    const failing = () => Promise.reject(new Error("not now"))
    for (const transport of ["stream", "poll"]) {
      const options = { transports: [transport], token: ${JSON.stringify(token({ topics }))} }
      const client = connect(${JSON.stringify(url)}, options)
      const subscription = client.subscribe("news", { onMessage: failing, onGap: "ignore", last: 1 })
      client.subscribe("other", { getState: failing })
      await subscription.ready
      await client.publish("news", 1)
      const other = connect(${JSON.stringify(url)}, { ...options, token: failing })
      const ready = other.subscribe("news").ready.catch((error) => error.code)
      await new Promise((resolve) => setTimeout(resolve, 300))
      await Promise.all([client.close(), other.close()])
      console.log(await ready)
    }`
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program], { timeout: 30_000 })
  assert.deepEqual([stdout, stderr], ["closed\nclosed\n", ""])
})
