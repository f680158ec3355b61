// Event streams and polls against a server that the test plays.

import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"

import { connect, type Options } from "notiflux"
import { brief, collect, settle } from "./fake.js"

/** A request that a client has made, and its answer. */
class FakeRequest {
  readonly method: string
  readonly headers: Record<string, string>
  readonly body: any
  readonly signal: AbortSignal
  #answer!: (response: Response) => void
  #fail!: (error: Error) => void
  #stream!: ReadableStreamDefaultController<Uint8Array>
  readonly response = new Promise<Response>((resolve, reject) => {
    this.#answer = resolve
    this.#fail = reject
  })

  constructor(
    readonly path: string,
    init: any,
  ) {
    this.method = init.method ?? "GET"
    this.headers = init.headers
    this.body = init.body && JSON.parse(init.body)
    this.signal = init.signal
    this.signal.addEventListener("abort", () => {
      this.#fail(this.signal.reason)
      this.#stream?.error(this.signal.reason)
    })
    this.response.catch(() => {})
  }

  json(body: unknown, status = 200, headers = {}): Promise<void> {
    this.#answer(new Response(JSON.stringify(body), { status, headers }))
    return settle()
  }

  problem(status: number, code: string, headers = {}): Promise<void> {
    return this.json({ title: "…", status, code, detail: `the code is ${code}` }, status, headers)
  }

  broken(): Promise<void> {
    this.#fail(new TypeError("fetch failed"))
    return settle()
  }

  /** Answers with lines, or continues to. */
  lines(...objects: unknown[]): Promise<void> {
    return this.text(objects.map((object) => JSON.stringify(object) + "\n").join(""))
  }

  text(text: string): Promise<void> {
    if (!this.#stream) this.#answer(new Response(new ReadableStream({ start: (controller) => void (this.#stream = controller) })))
    this.#stream.enqueue(new TextEncoder().encode(text))
    return settle()
  }

  end(): Promise<void> {
    this.#stream.close()
    return settle()
  }
}

const setup = (t: TestContext, options: Options = {}) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
  t.mock.method(Math, "random", () => 0.5)
  const requests: FakeRequest[] = []
  const client = connect<any>("http://push.example.com", {
    transports: ["stream"],
    token: "t1.x.y",
    fetch: (url, init) => {
      const request = new FakeRequest(String(url).replace("http://push.example.com", ""), init ?? { signal: new AbortController().signal })
      requests.push(request)
      return request.response
    },
    ...options,
  })
  t.after(() => client.close())
  return {
    client,
    /** Returns the requests since the last call. */
    async requests(): Promise<FakeRequest[]> {
      await settle()
      return requests.splice(0)
    },
    async wait(ms: number): Promise<void> {
      await settle()
      t.mock.timers.tick(ms)
      await settle()
    },
  }
}

const hello = (...topics: string[]) => ({
  type: "hello",
  connection: "c1",
  topics: Object.fromEntries(topics.map((topic) => [topic, { position: "E:0", recovered: true, replay: 0 }])),
  cursor: "c",
})
const message = (topic: string, offset: number) => ({ type: "message", topic, position: `E:${offset}`, time: 1, data: offset, cursor: "c" })

test("an event stream takes the topics of a token in one request", async (t) => {
  const { client, requests } = setup(t)
  const events = collect(client.subscribe("a"))
  client.subscribe("b")
  const [stream, ...more] = await requests()
  assert.deepEqual(more, [])
  assert.deepEqual([stream!.method, stream!.path, stream!.headers.Authorization], ["POST", "/stream", "Bearer t1.x.y"])
  assert.deepEqual(stream!.body.topics, ["a", "b"])
  assert.equal(JSON.stringify(stream!.body).includes("t1.x.y"), false)
  assert.equal(client.state, "connecting")
  await stream!.lines(hello("a", "b"), message("a", 1), { type: "ping" })
  assert.equal(client.state, "connected")
  await stream!.lines(message("a", 2))
  assert.deepEqual(brief(await events.take()), ["subscribed", 1, 2])
})

test("lines may come in any pieces", async (t) => {
  const { client, requests } = setup(t)
  const events = collect(client.subscribe("é"))
  const [stream] = await requests()
  const text = [hello("é"), { ...message("é", 1), data: "ü" }].map((line) => JSON.stringify(line) + "\n").join("")
  for (const character of text) await stream!.text(character)
  assert.deepEqual(brief(await events.take()), ["subscribed", "ü"])
})

test("another topic makes one new request for all, which resumes", async (t) => {
  const { client, requests, wait } = setup(t)
  const events = collect(client.subscribe("a"))
  const [first] = await requests()
  await first!.lines(hello("a"), message("a", 5))
  client.subscribe("b")
  client.subscribe("c")
  assert.deepEqual(await requests(), [])
  await wait(20)
  assert.ok(first!.signal.aborted)
  const [second, ...more] = await requests()
  assert.deepEqual(more, [])
  assert.deepEqual([second!.body.topics.sort(), second!.body.since], [["a", "b", "c"], { a: "E:5" }])
  await second!.lines({ ...hello("b", "c"), topics: { ...hello("b", "c").topics, a: { position: "E:5", recovered: true, replay: 0 } } }, message("a", 6))
  assert.deepEqual(brief(await events.take()), ["subscribed", 5, "subscribed", 6], "and nobody is told of a disconnect")
})

test("topics with different tokens have a stream each", async (t) => {
  const { client, requests, wait } = setup(t, { token: async ({ topics }) => topics.join("+") })
  client.subscribe("a")
  await requests()
  client.subscribe("b")
  await wait(20)
  const all = await requests()
  assert.deepEqual(all.map(({ headers, body }) => [headers.Authorization, body.topics]).sort(), [["Bearer a", ["a"]], ["Bearer b", ["b"]]])
})

test("more than 64 topics take two streams", async (t) => {
  const { client, requests } = setup(t)
  for (let i = 0; i < 70; i++) client.subscribe("t" + i)
  assert.deepEqual((await requests()).map(({ body }) => body.topics.length), [64, 6])
})

test("one topic that the token does not allow does not end the others", async (t) => {
  const { client, requests, wait } = setup(t)
  const good = client.subscribe("a")
  const bad = client.subscribe("b")
  const [stream] = await requests()
  await stream!.problem(403, "topic_denied")
  const [a] = await requests()
  assert.equal(a!.path, "/history?topic=a&limit=0")
  await a!.json({ messages: [], position: "E:0", recovered: true, more: false })
  const [b] = await requests()
  assert.equal(b!.path, "/history?topic=b&limit=0")
  await b!.problem(403, "topic_denied")
  await assert.rejects(bad.ready, { code: "topic_denied", message: "the code is topic_denied" })
  await wait(250)
  await wait(20)
  const [again] = await requests()
  assert.deepEqual(again!.body.topics, ["a"])
  await again!.lines(hello("a"))
  await good.ready
})

test("a refused token is replaced", async (t) => {
  const tokens = ["t1", "t2"]
  const { client, requests, wait } = setup(t, { token: async () => tokens.shift()! })
  const subscription = client.subscribe("a")
  const [first] = await requests()
  await first!.problem(401, "token_expired")
  await wait(20)
  const [second] = await requests()
  assert.equal(second!.headers.Authorization, "Bearer t2")
  await second!.lines(hello("a"))
  await subscription.ready
})

test("bye is honoured", async (t) => {
  const { client, requests, wait } = setup(t)
  const events = collect(client.subscribe("a"))
  const [stream] = await requests()
  await stream!.lines(hello("a"), { type: "bye", code: "draining", after: 2500 })
  await stream!.end()
  assert.deepEqual((await events.take()).at(-1), { type: "disconnected", topic: "a", code: "draining", retryIn: 2500 })
  await wait(2499)
  assert.deepEqual(await requests(), [])
  await wait(1)
  assert.equal((await requests()).length, 1)
})

test("a 503 is tried again after Retry-After", async (t) => {
  const { client, requests, wait } = setup(t)
  client.subscribe("a")
  const [stream] = await requests()
  await stream!.problem(503, "over_capacity", { "Retry-After": "7" })
  await wait(6999)
  assert.deepEqual(await requests(), [])
  await wait(1)
  assert.equal((await requests()).length, 1)
})

test("a stream that is silent for 20 s leads to polling", async (t) => {
  const { client, requests, wait } = setup(t, { transports: ["stream", "poll"] })
  const events = collect(client.subscribe("a"))
  const [stream] = await requests()
  await stream!.lines(hello("a"), message("a", 1))
  await wait(15_000)
  await stream!.lines({ type: "ping" })
  await wait(19_999)
  assert.equal(client.state, "connected")
  await wait(1)
  assert.ok(stream!.signal.aborted)
  await wait(250)
  const [poll] = await requests()
  assert.deepEqual([poll!.path, poll!.body.since], ["/poll", { a: "E:1" }])
  await poll!.json({ cursor: "c1", recovered: true, more: false, messages: [message("a", 2)], topics: { a: { position: "E:1", recovered: true, replay: 1 } } })
  assert.deepEqual(brief(await events.take()), ["subscribed", 1, "disconnected", "subscribed", 2])
  const [next] = await requests()
  assert.deepEqual([next!.body.since, next!.body.wait], ["c1", 25])
  await next!.json({ cursor: "c2", recovered: true, more: false, messages: [message("a", 3)], topics: { a: { position: "E:2", recovered: true, replay: 1 } } })
  assert.deepEqual(brief(await events.take()), [3])
})

test("a poll that is not covered any more is a gap", async (t) => {
  const { client, requests, wait } = setup(t, { transports: ["poll"] })
  const events = collect(client.subscribe("a"))
  const [first] = await requests()
  await first!.json({ cursor: "c1", recovered: true, more: false, messages: [message("a", 3)], topics: hello("a").topics })
  const [second] = await requests()
  await second!.json({ cursor: "c2", recovered: false, more: false, messages: [], topics: { a: { position: "E:9", recovered: false, replay: 0 } } })
  await wait(0)
  const [third] = await requests()
  assert.deepEqual(third!.body.since, { a: "E:3" })
  await third!.json({ cursor: "c3", recovered: false, more: false, messages: [], topics: { a: { position: "E:9", recovered: false, replay: 0 } } })
  assert.deepEqual(brief(await events.take()), ["subscribed", 3, "subscribed", "gap expired E:9"])
})

test("a later poll that is refused begins anew, with another token", async (t) => {
  const tokens = ["t1", "t2"]
  const { client, requests, wait } = setup(t, { transports: ["poll"], token: async () => tokens.shift()! })
  const events = collect(client.subscribe("a"))
  const [first] = await requests()
  await first!.json({ cursor: "c1", recovered: true, more: false, messages: [message("a", 3)], topics: hello("a").topics })
  const [second] = await requests()
  await second!.problem(401, "token_expired")
  const [third] = await requests()
  await third!.problem(401, "token_expired")
  await wait(20)
  const [fourth] = await requests()
  assert.deepEqual([fourth!.headers.Authorization, fourth!.body.since], ["Bearer t2", { a: "E:3" }])
  await fourth!.json({ cursor: "c1", recovered: true, more: false, messages: [], topics: { a: { position: "E:3", recovered: true, replay: 0 } } })
  assert.deepEqual(brief(await events.take()), ["subscribed", 3, "subscribed"])
})

test("a poll without an answer for 45 s is a broken connection", async (t) => {
  const { client, requests, wait } = setup(t, { transports: ["poll"] })
  client.subscribe("a")
  const [poll] = await requests()
  await wait(45_000)
  assert.ok(poll!.signal.aborted)
  await wait(500)
  assert.equal((await requests()).length, 1)
})

test("two streams that do not open, or one of another server, lead to polling", async (t) => {
  for (const break_ of ["network", "status"])
    await t.test(break_, async (t) => {
      const { client, requests, wait } = setup(t, { transports: ["stream", "poll"] })
      client.subscribe("a")
      const [first] = await requests()
      if (break_ === "network") {
        await first!.broken()
        await wait(250)
        await (await requests())[0]!.broken()
        const [probe] = await requests()
        assert.equal(probe!.path, "/livez")
        await probe!.json({})
        await wait(500)
      } else {
        await first!.json({}, 404)
        await wait(250)
      }
      assert.equal((await requests())[0]!.path, "/poll")
    })
})

test("presence ends with unsupported, and other subscriptions to the topic go on", async (t) => {
  const { client, requests, wait } = setup(t)
  const good = client.subscribe("a")
  const bad = client.subscribe("a", { presence: true })
  await assert.rejects(bad.ready, { code: "unsupported", topic: "a" })
  await wait(20)
  const [stream] = await requests()
  assert.deepEqual([stream!.body.topics, stream!.body.presence], [["a"], false])
  await stream!.lines(hello("a"))
  await good.ready
})

test("publish, history and presence are requests", async (t) => {
  const { client, requests } = setup(t)
  const published = client.publish("a", { n: 1 }, { key: "k" })
  const [post] = await requests()
  assert.deepEqual([post!.method, post!.path, post!.body, post!.headers.Authorization], ["POST", "/broadcast", { topic: "a", message: { n: 1 }, key: "k" }, "Bearer t1.x.y"])
  await post!.json({ topic: "a", position: "E:1" })
  assert.equal(await published, "E:1")

  const history = client.history("a b", { since: "E:1" as never, limit: 5 })
  const [get] = await requests()
  assert.deepEqual([get!.method, get!.path], ["GET", "/history?topic=a+b&since=E%3A1&limit=5"])
  await get!.json({ messages: [], position: "E:1", recovered: true, more: false })
  assert.equal((await history).position, "E:1")

  const presence = client.presence("a")
  const [members] = await requests()
  assert.equal(members!.path, "/presence?topic=a")
  await members!.json({ topic: "a", count: 1, subscribers: 1, members: [{ sub: "u" }] })
  assert.equal((await presence).count, 1)
})

test("a publish is repeated with its key after a failure", async (t) => {
  const { client, requests, wait } = setup(t)
  const published = client.publish("a", 1)
  const refused = assert.rejects(published, { code: "too_large", message: "the code is too_large" })
  const [first] = await requests()
  await first!.broken()
  await wait(250)
  const [second] = await requests()
  assert.equal(second!.body.key, first!.body.key)
  await second!.problem(503, "unavailable", { "Retry-After": "2" })
  await wait(2000)
  const [third] = await requests()
  await third!.problem(413, "too_large")
  await refused
})

test("cookies are sent with credentials, and no WebSocket is used", async (t) => {
  const sent: unknown[] = []
  const client = connect("http://push.example.com", {
    credentials: "include",
    WebSocket: class {
      constructor() {
        throw new Error("no WebSocket, please")
      }
    } as never,
    fetch: async (_, init) => {
      sent.push(init!.credentials, (init!.headers as any).Authorization)
      return new Response(JSON.stringify({ messages: [], position: "E:1", recovered: true, more: false }))
    },
  })
  t.after(() => client.close())
  await client.position("a")
  assert.deepEqual(sent, ["include", undefined])
})

test("without a WebSocket class there is nothing but to stream", async () => {
  assert.throws(() => connect("http://push.example.com", { transports: ["websocket"], credentials: "include" }), { code: "unsupported" })
})

test("a refused token is replaced for all topics at once", async (t) => {
  const tokens = ["t1", "t2"]
  const { client, requests, wait } = setup(t, { token: async () => tokens.shift()! })
  for (const topic of ["a", "b", "c"]) client.subscribe(topic)
  const [first] = await requests()
  await first!.problem(401, "token_expired")
  await wait(20)
  const [second, ...more] = await requests()
  assert.deepEqual([second!.path, second!.headers.Authorization, second!.body.topics, more.length], ["/stream", "Bearer t2", ["a", "b", "c"], 0])
})

test("a Retry-After that is a date is not waited for, but the client backs off", async (t) => {
  const { client, requests, wait } = setup(t)
  client.subscribe("a")
  const [stream] = await requests()
  await stream!.json({}, 503, { "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT" })
  await wait(249)
  assert.deepEqual(await requests(), [])
  await wait(1)
  assert.equal((await requests()).length, 1)
})

test("without topics it is idle, and opens nothing", async (t) => {
  const { client, requests, wait } = setup(t)
  const subscription = client.subscribe("a")
  const [stream] = await requests()
  await stream!.lines(hello("a"))
  subscription.close()
  await wait(100)
  await wait(20)
  assert.ok(stream!.signal.aborted)
  await wait(1_000_000)
  assert.deepEqual(await requests(), [])
  assert.equal(client.state, "idle")
})
