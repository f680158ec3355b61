import assert from "node:assert/strict"
import { Buffer } from "node:buffer"
import type { TestContext } from "node:test"
import { test } from "node:test"

import { NotifluxError, type Outcome, type Publication, publish, type PublishOptions } from "notiflux/server"

import { openssl } from "./back-end.js"

interface Call {
  url: string
  init: RequestInit
  /** The messages of the body. */
  messages: any[]
  /** In ms since the start. */
  at: number
}

type Handler = (call: Call, n: number) => unknown

/** Lets everything happen that waits for nothing but the event loop. */
const settle = async () => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}

let servers = 0

/**
 * Plays a server whose answers come from a handler: a Response, JSON for one with status 200,
 * or an error of the network. Time stands still until `pass`, and random numbers are 0.5.
 */
const play = (t: TestContext, handle: Handler) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
  t.mock.method(Math, "random", () => 0.5)
  const calls: Call[] = []
  const fake = async (url: any, init: any) => {
    const call = { url, init, messages: [JSON.parse(init.body)].flat(), at: Date.now() }
    calls.push(call)
    const aborted = new Promise((_, reject) => {
      if (init.signal.aborted) reject(init.signal.reason)
      init.signal.addEventListener("abort", () => reject(init.signal.reason))
    })
    const answer = await Promise.race([handle(call, calls.length), aborted])
    if (answer instanceof Error) throw answer
    return answer instanceof Response ? answer : Response.json(answer)
  }
  const url = `http://server${servers++}.test/prefix/`
  const credentials = { token: "a.b.c", fetch: fake as typeof fetch }
  return {
    url,
    calls,
    publish: (publication: Publication, options: Partial<PublishOptions> = {}) => publish(url, publication, { ...credentials, ...options } as PublishOptions),
    publishAll: (publications: Publication[], options: Partial<PublishOptions> = {}) => publish(url, publications, { ...credentials, ...options } as PublishOptions),
    /** Lets so much time pass, and what happens then happen. */
    async pass(ms: number, step = 250) {
      await settle()
      for (; ms > 0; ms -= step) {
        t.mock.timers.tick(Math.min(ms, step))
        await settle()
      }
    },
  }
}

/** Remembers what becomes of a promise. */
const watch = <T>(promise: Promise<T>) => {
  const state: { value?: T; error: any; at?: number } = { error: undefined }
  promise.then(
    (value) => Object.assign(state, { value, at: Date.now() }),
    (error) => Object.assign(state, { error, at: Date.now() }),
  )
  return state
}

const problem = (status: number, code?: string, headers: HeadersInit = {}) =>
  new Response(code && JSON.stringify({ code, detail: `it is ${code}` }), { status, headers })

const network = (code?: string) => Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error(code), { code }) })

/** Shortens outcomes to positions and codes. */
const brief = (outcomes: Outcome[] | undefined) => outcomes?.map(({ topic, position, error }) => `${topic} ${error ? error.code : position}`)

test("a message is one request", async (t) => {
  const server = play(t, () => ({ topic: "a", position: "E:1" }))
  const position = await server.publish({ topic: "a", message: { n: 1 }, key: "k1", exclude: "c1" })
  assert.equal(position, "E:1")
  const [{ url, init }] = server.calls as [Call]
  assert.equal(url, server.url + "broadcast")
  assert.deepEqual({ ...init, signal: undefined }, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: "Bearer a.b.c" },
    body: '{"topic":"a","message":{"n":1},"key":"k1","exclude":"c1"}',
    redirect: "manual",
    signal: undefined,
  })
  await server.publish({ topic: "a", message: null })
  await server.publish({ topic: "a", message: "", key: null as any })
  const keys = server.calls.map(({ messages }) => messages[0].key)
  assert.equal(new Set(keys).size, 3, "keys repeat")
  assert.match(keys[2], /^[0-9a-f-]{36}$/)
  assert.equal(server.calls[1]!.messages[0].message, null)
})

const passing: Record<string, () => unknown> = {
  "429": () => problem(429, "too_many"),
  "429 of a proxy": () => problem(429),
  "500": () => problem(500, "internal"),
  "503": () => problem(503, "over_capacity"),
  "503 of a proxy": () => new Response("<html>busy</html>", { status: 503 }),
  "502 of a proxy": () => problem(502),
  "outcome_unknown": () => problem(503, "outcome_unknown"),
  "a broken connection": () => network("ECONNRESET"),
  "no connection": () => network("ECONNREFUSED"),
}
for (const [name, answer] of Object.entries(passing))
  test(`it tries again with the same key after ${name}`, async (t) => {
    const server = play(t, (_, n) => (n < 4 ? answer() : { topic: "a", position: "E:9" }))
    const done = watch(server.publish({ topic: "a", message: 1 }))
    await server.pass(10_000)
    assert.equal(done.value, "E:9")
    assert.deepEqual(server.calls.map(({ at }) => at), [0, 250, 750, 1750])
    assert.equal(new Set(server.calls.map(({ init }) => init.body)).size, 1)
  })

const final: Record<string, [answer: () => unknown, code: string, message: RegExp, status?: number | undefined]> = {
  "400": [() => problem(400, "malformed"), "malformed", /^it is malformed$/, 400],
  "401": [() => problem(401, "token_expired"), "token_expired", /token_expired/, 401],
  "403": [() => problem(403, "topic_denied"), "topic_denied", /topic_denied/, 403],
  "409": [() => problem(409, "key_reused"), "key_reused", /key_reused/, 409],
  "413": [() => problem(413, "too_large"), "too_large", /too_large/, 413],
  "404 of another server": [() => problem(404), "refused", /broadcast answered with status 404, without a code of notiflux; use the URL of a notiflux server$/, 404],
  "a redirect": [() => problem(307, undefined, { Location: "http://other.test/" }), "refused", /status 307/, 307],
  "an unknown code": [() => problem(418, "teapot"), "teapot", /^it is teapot$/, 418],
  "a code without a sentence": [() => Response.json({ code: "internal_affairs" }, { status: 410 }), "internal_affairs", /^internal_affairs$/, 410],
  "a wrong certificate": [() => network("DEPTH_ZERO_SELF_SIGNED_CERT"), "insecure", /^the certificate of http.* is not accepted; use one for this host/],
  "a page": [() => new Response("<html>"), "outcome_unknown", /^it is unknown whether .* not one of a notiflux server; use the URL of one$/],
  "JSON that is no answer": [() => ({ ok: true }), "outcome_unknown", /not one of a notiflux server/],
  "a list for one message": [() => [{ position: "E:1" }, { position: "E:2" }], "outcome_unknown", /not one of a notiflux server/],
}
for (const [name, [answer, code, message, status]] of Object.entries(final))
  test(`it does not try again after ${name}`, async (t) => {
    const server = play(t, answer)
    const done = watch(server.publish({ topic: "a", message: 1 }))
    await server.pass(250)
    assert.equal(server.calls.length, 1)
    const { error } = done
    assert.ok(error instanceof NotifluxError, error)
    assert.equal(error.code, code)
    assert.match(error.message, message)
    assert.deepEqual([error.topic, error.status, error.retry], ["a", status, code === "outcome_unknown"])
  })

test("it waits as long as the server says, and then some", async (t) => {
  const server = play(t, (_, n) => (n === 1 ? problem(503, "draining", { "Retry-After": "7" }) : { topic: "a", position: "E:1" }))
  const done = watch(server.publish({ topic: "a", message: 1 }))
  await server.pass(10_000)
  assert.equal(done.value, "E:1")
  assert.equal(server.calls[1]!.at, 7250)
})

test("it gives up at once if it had to wait for too long", async (t) => {
  const server = play(t, () => problem(503, "over_capacity", { "Retry-After": "100" }))
  const done = watch(server.publish({ topic: "a", message: 1 }))
  await server.pass(250)
  assert.equal(done.error.code, "over_capacity")
  assert.equal(done.error.retry, true)
  assert.equal(server.calls.length, 1)
})

test("a Retry-After that is no number does not count", async (t) => {
  const server = play(t, (_, n) => (n === 1 ? problem(503, "draining", { "Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT" }) : { position: "E:1" }))
  const done = watch(server.publish({ topic: "a", message: 1 }))
  await server.pass(1000)
  assert.equal(done.value, "E:1")
})

test("when the 100 s are over, the outcome is unknown", async (t) => {
  const server = play(t, () => network("ECONNRESET"))
  const done = watch(server.publish({ topic: "a", message: 1, key: "k" }))
  await server.pass(120_000)
  assert.equal(done.error.code, "outcome_unknown")
  assert.equal(done.error.cause.code, "timeout")
  assert.equal(done.error.cause.cause.cause.code, "ECONNRESET")
  assert.equal(done.error.retry, true)
  assert.ok(done.at! > 70_000 && done.at! <= 100_000, `it ended at ${done.at}`)
  // Random numbers are 0.5: 250 ms, 500 ms, and so on up to 15 s.
  assert.deepEqual(server.calls.map(({ at }) => at), [0, 250, 750, 1750, 3750, 7750, 15750, 30750, 45750, 60750, 75750, 90750])
})

test("when the 100 s are over and nothing was sent, the error says so", async (t) => {
  const server = play(t, () => network("ECONNREFUSED"))
  const done = watch(server.publish({ topic: "a", message: 1 }))
  await server.pass(101_000)
  assert.equal(done.error.code, "timeout")
  assert.match(done.error.message, /^no answer came from http:.*\/broadcast$/)
  assert.equal(done.error.retry, true)
  assert.equal(done.error.cause.cause.code, "ECONNREFUSED")
})

test("when the 100 s are over and the server has refused every attempt, the error is its refusal", async (t) => {
  const server = play(t, () => problem(503, "unavailable"))
  const done = watch(server.publish({ topic: "a", message: 1 }))
  await server.pass(101_000)
  assert.deepEqual([done.error.code, done.error.status, done.error.retry], ["unavailable", 503, true])
})

test("a refusal does not hide that an earlier attempt may have published", async (t) => {
  const server = play(t, (_, n) => (n === 1 ? network() : problem(403, "topic_denied")))
  const done = watch(server.publish({ topic: "a", message: 1 }))
  await server.pass(1000)
  assert.equal(done.error.code, "outcome_unknown")
  assert.equal(done.error.cause.code, "topic_denied")
  assert.equal(server.calls.length, 2)
})

test("an attempt without an answer ends", async (t) => {
  const server = play(t, (_, n) => (n === 1 ? new Promise(() => {}) : { position: "E:1" }))
  const done = watch(server.publish({ topic: "a", message: "x".repeat(64_000) }))
  await server.pass(16_500)
  assert.equal(server.calls.length, 1)
  await server.pass(1000)
  assert.equal(done.value, "E:1")
})

test("an answer that breaks off is asked for again", async (t) => {
  const broken = () => new Response(new ReadableStream({ start: (controller) => controller.error(network("ECONNRESET")) }))
  const server = play(t, (_, n) => (n === 1 ? broken() : { position: "E:1" }))
  const done = watch(server.publish({ topic: "a", message: 1 }))
  await server.pass(1000)
  assert.equal(done.value, "E:1")
})

test("an attempt in progress ends with the time of the call", async (t) => {
  const server = play(t, () => new Promise(() => {}))
  const done = watch(server.publish({ topic: "a", message: 1 }, { timeout: 2000 }))
  await server.pass(2500)
  assert.deepEqual([done.error.code, done.at], ["outcome_unknown", 2000])
  assert.equal(server.calls.length, 1)
})

test("a signal ends the call with its reason", async (t) => {
  for (const answer of [() => new Promise(() => {}), () => problem(503, "draining", { "Retry-After": "5" })]) {
    const server = play(t, answer)
    const controller = new AbortController()
    const done = [{ topic: "a", message: 1 }, [{ topic: "a", message: 1 }]].map((what) =>
      watch(server.publishAll(what as Publication[], { signal: controller.signal })),
    )
    await server.pass(1000)
    assert.deepEqual(done, [{ error: undefined }, { error: undefined }])
    const reason = new Error("the program ends")
    controller.abort(reason)
    await server.pass(0)
    for (const { error } of done) assert.equal(error, reason)
    await server.pass(20_000)
    assert.equal(server.calls.length, 2)
    await assert.rejects(server.publish({ topic: "a", message: 1 }, { signal: controller.signal }), reason)
    await assert.rejects(server.publish({ topic: "a", message: 1 }, { signal: AbortSignal.abort() }), { name: "AbortError" })
    assert.equal(server.calls.length, 2)
    t.mock.timers.reset()
    t.mock.restoreAll()
  }
})

test("a call leaves no timers and no listeners", async (t) => {
  const { signal } = new AbortController()
  const count = { listeners: 0 }
  t.mock.method(signal, "addEventListener", () => count.listeners++)
  t.mock.method(signal, "removeEventListener", () => count.listeners--)
  const server = play(t, () => ({ position: "E:1" }))
  let timers = 0
  const { setTimeout, clearTimeout } = globalThis
  t.mock.method(globalThis, "setTimeout", (...args: any) => (timers++, (setTimeout as any)(...args)))
  t.mock.method(globalThis, "clearTimeout", (id: any) => (timers--, clearTimeout(id)))
  await server.publish({ topic: "a", message: 1 }, { signal })
  assert.deepEqual([timers, count.listeners], [0, 0])
})

test("a batch is one request with one outcome each", async (t) => {
  const server = play(t, ({ messages }) =>
    Response.json(
      messages.map(({ topic }) => (topic === "denied" ? { topic, error: { code: "topic_denied", message: "no" } } : { topic, position: `E:${topic}` })),
      { status: 207 },
    ),
  )
  const outcomes = await server.publishAll(["1", "denied", "2"].map((topic) => ({ topic, message: topic })))
  assert.deepEqual(brief(outcomes), ["1 E:1", "denied topic_denied", "2 E:2"])
  const { error } = outcomes[1]!
  assert.deepEqual([error!.message, error!.topic, error!.retry], ["no", "denied", false])
  assert.equal(server.calls.length, 1)
  assert.deepEqual(await server.publishAll([]), [])
  assert.deepEqual(brief(await server.publishAll([{ topic: "3", message: 0 }])), ["3 E:3"])
  assert.equal(server.calls.length, 2)
})

test("a batch sends again only what may succeed later", async (t) => {
  const codes: Record<string, string[]> = { a: [], b: ["over_capacity"], c: ["outcome_unknown", "unavailable"], d: ["key_reused"], e: ["teapot"] }
  const server = play(t, ({ messages }) => {
    const results = messages.map(({ topic }) => {
      const code = codes[topic]!.shift()
      return code ? { topic, error: { code, message: code } } : { topic, position: `E:${topic}` }
    })
    return results.length === 1 && results[0]!.error ? problem(503, results[0]!.error.code) : results.length === 1 ? results[0] : Response.json(results, { status: 207 })
  })
  const done = watch(server.publishAll(Object.keys(codes).map((topic) => ({ topic, message: 1 }))))
  await server.pass(2000)
  assert.deepEqual(brief(done.value), ["a E:a", "b E:b", "c E:c", "d key_reused", "e teapot"])
  assert.deepEqual(server.calls.map(({ messages }) => messages.map(({ topic }) => topic).join("")), ["abcde", "bc", "c"])
  const keyOf = (n: number, topic: string) => server.calls[n]!.messages.find((message) => message.topic === topic).key
  assert.equal(keyOf(2, "c"), keyOf(0, "c"))
  assert.equal(keyOf(1, "b"), keyOf(0, "b"))
})

test("when the 100 s are over, each message of a batch has its own error", async (t) => {
  const server = play(t, ({ messages }, n) => {
    if (n > 1) return problem(503, "draining")
    return Response.json(messages.map(({ topic }, i) => (i ? { topic, error: { code: ["", "outcome_unknown", "over_capacity"][i], message: "m" } } : { topic, position: "E:1" })))
  })
  const done = watch(server.publishAll(["a", "b", "c"].map((topic) => ({ topic, message: 1 }))))
  await server.pass(101_000)
  assert.deepEqual(brief(done.value), ["a E:1", "b outcome_unknown", "c draining"])
})

test("large batches go in parts that the server takes", async (t) => {
  const server = play(t, ({ messages, init }) => {
    if (messages.length > 1000 || Buffer.byteLength(init.body as string) > 1 << 20) return problem(413, "too_large")
    return messages.length === 1 ? { position: "E:1" } : messages.map(({ topic }) => ({ topic, position: "E:1" }))
  })
  const sizes = async (publications: Publication[]) => {
    server.calls.length = 0
    assert.ok((await server.publishAll(publications)).every(({ position }) => position === "E:1"))
    assert.deepEqual(server.calls.flatMap(({ messages }) => messages.map(({ message }) => message)), publications.map(({ message }) => message), "not in order")
    return server.calls.map(({ messages }) => messages.length)
  }
  const many = (length: number, message: (i: number) => unknown, topic = (_: number) => "a") =>
    Array.from({ length }, (_, i) => ({ topic: topic(i), message: message(i) }))
  assert.deepEqual(await sizes(many(2001, (i) => i)), [1000, 1000, 1])
  assert.deepEqual(await sizes(many(40, (i) => `${i}`.padEnd(60_000, "é"))), [8, 8, 8, 8, 8])
  const topics = await sizes(many(100, (i) => i, (i) => `${i}`.padEnd(128, "é")))
  assert.deepEqual(topics, [11, 11, 11, 11, 11, 11, 11, 11, 11, 1])
})

test("what the server refuses as a whole goes in halves", async (t) => {
  const server = play(t, ({ messages }) => {
    if (messages.length > 3) return problem(413, "too_large")
    if (messages.some(({ message }) => message === "bad")) return problem(400, "malformed")
    return messages.length === 1 ? { position: "E:1" } : messages.map(({ topic }) => ({ topic, position: "E:1" }))
  })
  const outcomes = await server.publishAll(["a", "b", "c", "d", "bad", "f", "g"].map((message) => ({ topic: message, message })))
  assert.deepEqual(brief(outcomes), ["a E:1", "b E:1", "c E:1", "d E:1", "bad malformed", "f E:1", "g E:1"])
})

test("a message that cannot be sent has an outcome of its own", async (t) => {
  const server = play(t, () => ({ position: "E:1" }))
  const cyclic: any = {}
  cyclic.self = cyclic
  const outcomes = await server.publishAll([
    { topic: "", message: 1 },
    { topic: "ok", message: 1 },
    { topic: "x".repeat(256), message: 1 },
    { topic: "cyclic", message: cyclic },
    { topic: "bigint", message: 1n },
    { topic: undefined as any, message: 1 },
  ])
  assert.deepEqual(outcomes.map(({ error }) => error?.code), ["topic_invalid", undefined, "topic_invalid", "malformed", "malformed", "topic_invalid"])
  assert.equal(outcomes[0]!.error!.message, "the topic is empty; use a name of 1 to 255 bytes")
  assert.equal(outcomes[5]!.error!.message, "the topic is undefined; use a string")
  assert.equal(server.calls.length, 1)
  await assert.rejects(server.publish({ topic: "a\n", message: 1 }), { code: "topic_invalid", topic: "a\n" })
})

test("after a restart of the server, a message that may have been published is not sent again", async (t) => {
  const server = play(t, ({ messages: [{ message }] }, n) => (message === "first" && n === 2 ? network() : { position: n < 3 ? "E:1" : "F:1" }))
  await server.publish({ topic: "a", message: 0 })
  const done = watch(server.publish({ topic: "a", message: "first" }))
  await server.pass(0)
  await server.publish({ topic: "a", message: "second" }) // It tells of the new epoch.
  await server.pass(1000)
  assert.equal(done.error.code, "outcome_unknown")
  assert.equal(server.calls.length, 3)
})

test("a private key signs for the topics of the messages", async (t) => {
  const privateKey = openssl("ecparam -name prime256v1 -genkey -noout")
  const server = play(t, ({ messages }) => (messages.length === 1 ? { position: "E:1" } : messages.map(() => ({ position: "E:1" }))))
  const claims = () => {
    const [token] = server.calls.splice(0).map(({ init }) => (init.headers as any).Authorization.slice("Bearer ".length).split("."))
    const [header, payload] = token.map((part: string) => Buffer.from(part, "base64url").toString())
    return [JSON.parse(header), JSON.parse(payload)]
  }
  await server.publish({ topic: "a", message: 1 }, { token: undefined, privateKey })
  assert.deepEqual(claims(), [{ alg: "ES256", typ: "JWT" }, { sub: "server", scope: "broadcast", topic: "a", iat: 0, exp: 300 }])
  await server.publishAll(["a", "b", "a"].map((topic) => ({ topic, message: 1 })), { token: undefined, privateKey, sub: "shop", kid: "k" })
  assert.deepEqual(claims(), [{ alg: "ES256", typ: "JWT", kid: "k" }, { sub: "shop", scope: "broadcast", topics: ["a", "b"], iat: 0, exp: 300 }])
})

test("many long topics fit into the tokens of their requests", async (t) => {
  const privateKey = openssl("genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:4096")
  const server = play(t, ({ messages }) => messages.map(() => ({ position: "E:1" })))
  for (const character of ["x", '"', "\\"]) {
    const topics = Array.from({ length: 40 }, (_, i) => `${i}`.padEnd(255, character))
    const outcomes = await server.publishAll(topics.map((topic) => ({ topic, message: 1 })), { token: undefined, privateKey, sub: "\0".repeat(255) })
    assert.ok(outcomes.every(({ position }) => position))
  }
})

test("mistakes in the URL and the options are refused before anything is sent", async (t) => {
  const server = play(t, () => ({ position: "E:1" }))
  const url = "the URL is not that of a server; use one like https://push.example.com"
  for (const wrong of ["", "push.example.com", "ws://push.example.com", "https://u:secret@push.example.com", "https://push.example.com?token=secret", "https://push.example.com#a"])
    await assert.rejects(publish(wrong, { topic: "a", message: 1 }, { token: "a.b.c" }), { name: "TypeError", message: url })
  const wrong: [options: any, message: RegExp][] = [
    [{ token: undefined }, /^the options have no token and no privateKey; use one of the two$/],
    [{ privateKey: "x" }, /^the options have a token and a privateKey; use one of the two$/],
    [{ token: "a.b.c\n" }, /^options.token is not a token; use a string that sign returned$/],
    [{ token: 7 }, /^options.token is not a token/],
    [{ token: undefined, privateKey: "x" }, /^the key is not PEM/],
    [{ timeout: 0 }, /^options.timeout is 0; use a number of milliseconds above 0, up to 100000$/],
    [{ timeout: 100_001 }, /^options.timeout is 100001/],
    [{ timeout: "1s" }, /^options.timeout is "1s"/],
  ]
  for (const [options, message] of wrong) {
    await assert.rejects(server.publish({ topic: "a", message: 1 }, options), { message })
    await assert.rejects(server.publishAll([{ topic: "a", message: 1 }], options), { message })
  }
  await assert.rejects(publish("http://a.test", { topic: "a", message: 1 }, undefined as any), /^TypeError: the options have no token and no privateKey/)
  assert.equal(server.calls.length, 0)
  await publish(new URL(server.url), { topic: "a", message: 1 }, { token: "a.b.c", fetch: (async () => Response.json({ position: "E:1" })) as any })
})

test("an error does not show the token, even if a proxy quotes it", async (t) => {
  const server = play(t, () => Response.json({ code: "token_invalid", detail: "bad header: Bearer a.b.c" }, { status: 401 }))
  await assert.rejects(server.publish({ topic: "a", message: 1 }), { message: "bad header: Bearer REDACTED" })
})
