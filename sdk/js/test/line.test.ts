// Connecting, reconnecting, and what the browser says.

import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"

import { connect, type NotifluxError, type State } from "notiflux"
import { brief, collect, FakeTransport, fakeClient, settle } from "./fake.js"

/** Returns a client with a confirmed subscription to "a". */
const connected = async (t: TestContext, welcome = {}) => {
  const fake = fakeClient(t)
  const states: [State, (number | string | undefined)?][] = []
  fake.client.on((state, why) => states.push(why ? [state, why.status] : [state]))
  const events = collect(fake.client.subscribe("a"))
  fake.transport.last.welcome(welcome)
  fake.transport.last.confirm(await fake.transport.last.command("subscribe"))
  assert.deepEqual(brief(await events.take()), ["subscribed"])
  return { ...fake, states, events }
}

test("the wait is random, and doubles with each failure up to 30 s", async (t) => {
  const { transport, wait } = await connected(t)
  transport.last.end()
  for (const limit of [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]) {
    const { length } = transport.opened
    await wait(limit / 2 - 1)
    assert.equal(transport.opened.length, length, `before ${limit / 2} ms`)
    await wait(1)
    assert.equal(transport.opened.length, length + 1, `after ${limit / 2} ms`)
    transport.last.end()
  }
})

test("a connection that lasted for 10 s makes the wait short again", async (t) => {
  const { transport, wait } = await connected(t)
  for (const [lasts, waits] of [[0, 250], [0, 500], [11_000, 250], [1000, 500]] as const) {
    await wait(lasts)
    transport.last.end()
    const { length } = transport.opened
    await wait(waits - 1)
    assert.equal(transport.opened.length, length)
    await wait(1)
    assert.equal(transport.opened.length, length + 1)
    transport.last.welcome()
  }
})

// docs/protocol.md, section 5. With random numbers of 0.5, the third failure in a row waits for 1 s.
const closes: [code: number | undefined, bye: object | undefined, wait: number | "never"][] = [
  [undefined, undefined, 1000],
  [1000, undefined, 1000],
  [1001, undefined, 1000],
  [1002, undefined, "never"],
  [1003, undefined, "never"],
  [1006, undefined, 1000],
  [1007, undefined, "never"],
  [1008, undefined, 1000],
  [1009, undefined, "never"],
  [1011, undefined, 1000],
  [1012, { code: "draining", after: 2500 }, 2500],
  [1012, { code: "draining", after: 500 }, 1000],
  [1013, { code: "over_capacity", after: 4000 }, 4000],
  [1013, undefined, 1000],
  [3000, undefined, 1000],
  [4000, undefined, "never"],
  [4009, { code: "idle", after: 0 }, 1000],
  [4099, undefined, "never"],
  [4100, undefined, 1000],
  [4108, { code: "too_many", after: 5000 }, 5000],
  [4201, undefined, 250],
  [4202, { code: "too_slow", after: 0 }, 250],
  [4299, undefined, 250],
  [4300, undefined, 1000],
  [undefined, { code: "draining", after: 2000 }, 2000],
  [undefined, { code: "token_expired", after: 0 }, 250],
  [undefined, { code: "too_slow", after: 0 }, 250],
  [undefined, { code: "another", after: 0 }, 1000],
]
for (const [code, bye, expected] of closes)
  test(`close ${code ?? "without a code"}${bye ? " and bye " + JSON.stringify(bye) : ""}: ${expected}`, async (t) => {
    const { client, transport, wait, events, states } = await connected(t)
    for (let i = 0; i < 2; i++) {
      transport.last.end()
      await wait(1000)
      transport.last.welcome()
    }
    await events.take()
    if (bye) transport.last.frame({ type: "bye", ...bye })
    const { length } = transport.opened
    transport.last.end(code ? { code } : {})
    await settle()
    if (expected === "never") {
      assert.equal(client.state, "idle")
      await assert.rejects(events.take(), { code: "disconnected", status: code, retry: false })
      await wait(100_000)
      assert.equal(transport.opened.length, length)
      client.subscribe("b")
      assert.equal(transport.opened.length, length + 1, "a new subscription connects again")
      return
    }
    assert.equal(client.state, "waiting")
    assert.deepEqual(states.at(-1), ["waiting", code ?? (bye as any)?.code])
    await wait(expected - 1)
    assert.equal(transport.opened.length, length)
    await wait(1)
    assert.equal(transport.opened.length, length + 1)
  })

test("a subscription is told once that there is no connection", async (t) => {
  const { transport, wait, events } = await connected(t)
  transport.last.frame({ type: "bye", code: "draining", after: 700 })
  transport.last.end({ code: 1012 })
  assert.deepEqual(await events.take(), [{ type: "disconnected", topic: "a", code: 1012, retryIn: 700 }])
  for (let i = 0; i < 3; i++) {
    await wait(30_000)
    transport.last.end()
  }
  assert.deepEqual(await events.take(), [])
})

test("the state is told with what ended the connection", async (t) => {
  const { client, transport, wait, states } = await connected(t)
  transport.last.end({ code: 1001 })
  await wait(250)
  transport.last.welcome()
  await settle()
  assert.deepEqual(states, [["connecting"], ["connected"], ["waiting", 1001], ["connecting"], ["connected"]])
  const why: (NotifluxError | undefined)[] = []
  const stop = client.on((_, error) => why.push(error))
  transport.last.end({ code: 1001 })
  await settle()
  assert.equal(why[0]?.retry, true)
  stop()
  await client.close()
  await settle()
  assert.equal(why.length, 1)
  assert.deepEqual(states.at(-1), ["closed"])
})

test("without subscriptions it does not connect again", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const subscription = client.subscribe("a")
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  subscription.close()
  await wait(200)
  transport.last.end()
  assert.equal(client.state, "idle")
  await wait(100_000)
  assert.equal(transport.opened.length, 1)
})

test("a server without a welcome is given up after 10 s", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  client.subscribe("a")
  await wait(9_999)
  assert.equal(transport.last.isClosed, false)
  await wait(1)
  assert.equal(transport.last.isClosed, true)
  assert.equal(client.state, "waiting")
})

test("a ping that is not answered for 10 s means that the connection is dead, silence does not", async (t) => {
  const { client, transport, wait } = await connected(t, { ping: 25 })
  const first = transport.last
  await wait(24_999)
  await first.noCommand()
  await wait(1)
  await first.command("ping")
  await wait(9_000)
  first.frame({ type: "pong" })
  await wait(25_000)
  await first.command("ping")
  await wait(9_000)
  first.message("a", 1) // Anything is a sign of life.
  await wait(9_000)
  assert.equal(client.state, "connected")
  await wait(16_000)
  await first.command("ping")
  await wait(10_000)
  assert.ok(first.isClosed)
  assert.equal(client.state, "waiting")
})

test("the client stays below the server's rate of commands", async (t) => {
  const { client, transport, wait } = await connected(t)
  await wait(1000)
  for (let i = 0; i < 250; i++) client.publish("a", i).catch(() => {})
  for (const sent of [90, 180, 250]) {
    await settle()
    assert.equal(transport.last.commands.length, sent)
    await wait(1000)
  }
})

/** Plays the page that the client is in. */
const page = (t: TestContext) => {
  const events = new EventTarget()
  const globals: any = globalThis
  const state = { onLine: true, hidden: false }
  const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator")
  globals.addEventListener = events.addEventListener.bind(events)
  globals.document = state
  Object.defineProperty(globalThis, "navigator", { value: state, configurable: true, writable: true })
  t.after(() => {
    delete globals.addEventListener
    delete globals.document
    if (navigator) Object.defineProperty(globalThis, "navigator", navigator)
    else delete globals.navigator
  })
  return { state, fire: (type: string) => events.dispatchEvent(new Event(type)) }
}

test("offline, it does not try; online, it does at once", async (t) => {
  const { state, fire } = page(t)
  const { client, transport, wait } = await connected(t)
  state.onLine = false
  fire("offline")
  assert.equal(client.state, "connected", "the browser may be wrong")
  transport.last.end()
  assert.equal(client.state, "offline")
  await wait(1_000_000)
  assert.equal(transport.opened.length, 1)
  state.onLine = true
  fire("online")
  await wait(0)
  assert.equal(transport.opened.length, 2)
})

test("going offline while waiting stops the attempts", async (t) => {
  const { state, fire } = page(t)
  const { client, transport, wait } = await connected(t)
  transport.last.end()
  assert.equal(client.state, "waiting")
  state.onLine = false
  fire("offline")
  assert.equal(client.state, "offline")
  await wait(1_000_000)
  assert.equal(transport.opened.length, 1)
})

for (const event of ["online", "visibilitychange", "pageshow", "resume"])
  test(`${event} makes the next attempt at once, but not before the server wants it`, async (t) => {
    const { fire } = page(t)
    const { transport, wait } = await connected(t)
    for (let i = 0; i < 6; i++) {
      transport.last.end()
      await wait(30_000)
    }
    transport.last.end()
    fire(event)
    await wait(0)
    assert.equal(transport.opened.length, 8)
    transport.last.frame({ type: "bye", code: "draining", after: 2000 })
    transport.last.end({ code: 1012 })
    fire(event)
    await wait(1999)
    assert.equal(transport.opened.length, 8)
    await wait(1)
    assert.equal(transport.opened.length, 9)
  })

test("a hidden page is no reason for an attempt", async (t) => {
  const { state, fire } = page(t)
  const { transport, wait } = await connected(t)
  transport.last.end()
  state.hidden = true
  fire("visibilitychange")
  await wait(249)
  assert.equal(transport.opened.length, 1)
})

for (const event of ["online", "offline", "visibilitychange", "resume"])
  test(`${event} finds out at once whether the connection is alive`, async (t) => {
    const { fire } = page(t)
    const { client, transport, wait } = await connected(t, { ping: 25 })
    fire(event)
    await transport.last.command("ping")
    await wait(10_000)
    assert.equal(client.state, "waiting")
  })

for (const [leave, back] of [["pagehide", "pageshow"], ["freeze", "resume"]] as const)
  test(`${leave} closes the connection, and ${back} opens another`, async (t) => {
    const { fire } = page(t)
    const { client, transport, wait } = await connected(t)
    transport.last.message("a", 1)
    fire(leave)
    assert.ok(transport.last.isClosed)
    assert.equal(client.state, "waiting")
    await wait(1_000_000)
    assert.equal(transport.opened.length, 1)
    fire(back)
    await wait(0)
    assert.equal(transport.opened.length, 2)
    transport.last.welcome()
    assert.deepEqual((await transport.last.command("subscribe")).since, { a: "E:1" })
  })

test("freezing while waiting stops the attempts", async (t) => {
  const { fire } = page(t)
  const { transport, wait } = await connected(t)
  transport.last.end()
  fire("freeze")
  await wait(1_000_000)
  assert.equal(transport.opened.length, 1)
  fire("resume")
  await wait(0)
  assert.equal(transport.opened.length, 2)
})

test("a closed client does not listen to the page any more", async (t) => {
  const { fire } = page(t)
  const { client, transport, wait } = await connected(t)
  await client.close()
  for (const event of ["freeze", "resume", "online"]) fire(event)
  await wait(100_000)
  assert.equal(transport.opened.length, 1)
  assert.equal(client.state, "closed")
})

/** The server answers HTTP requests. */
const isUp = async () => new Response()

test("while the server is down, the client stays with its transport", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
  t.mock.method(Math, "random", () => 0.5)
  const [first, second] = [new FakeTransport(), new FakeTransport()]
  const answers = [() => Promise.reject(new TypeError("fetch failed")), async () => new Response("", { status: 502 }), isUp]
  const asked: string[] = []
  const fetch = (url: any) => answers[asked.push(url) - 1]!()
  const client = connect("http://push.example.com", { transports: [first, second], fetch })
  t.after(() => client.close())
  const subscription = client.subscribe("a", { presence: true })
  for (let n = 1; n <= 4; n++) {
    assert.deepEqual([first.opened.length, second.opened.length], [n, 0])
    first.last.end()
    await settle()
    t.mock.timers.tick(30_000)
  }
  assert.deepEqual(asked, Array(3).fill("http://push.example.com/livez"))
  assert.deepEqual([first.opened.length, second.opened.length], [4, 1])
  second.last.welcome()
  second.last.confirm(await second.last.command("subscribe"))
  await subscription.ready
})

test("two attempts without a welcome lead to the next transport", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
  t.mock.method(Math, "random", () => 0.5)
  const all = [new FakeTransport(), new FakeTransport(), new FakeTransport()] as const
  const client = connect("http://push.example.com", { transports: [...all], fetch: isUp })
  t.after(() => client.close())
  const events = collect(client.subscribe("a"))
  const opened = () => all.map((transport) => transport.opened.length)
  const wait = async (ms: number) => {
    await settle()
    t.mock.timers.tick(ms)
    await settle()
  }
  all[0].last.end()
  await wait(250)
  assert.deepEqual(opened(), [2, 0, 0])
  all[0].last.end()
  await wait(500)
  assert.deepEqual(opened(), [2, 1, 0])
  all[1].last.welcome()
  all[1].last.confirm(await all[1].last.command("subscribe"))
  all[1].last.message("a", 1)

  // The first one is tried again after 5 minutes, once, and nothing is lost.
  await wait(299_499) // It was given up 500 ms ago.
  assert.deepEqual(opened(), [2, 1, 0])
  await wait(1)
  assert.deepEqual(opened(), [3, 1, 0])
  assert.ok(all[1].last.isClosed)
  all[0].last.end()
  await wait(500)
  assert.deepEqual(opened(), [3, 2, 0])
  all[1].last.welcome()
  const again = await all[1].last.command("subscribe")
  assert.deepEqual(again.since, { a: "E:1" })
  all[1].last.confirm(again, "E:1")
  await wait(300_000)
  all[0].last.welcome()
  assert.equal(client.state, "connected")
  assert.deepEqual((await all[0].last.command("subscribe")).since, { a: "E:1" })
  assert.deepEqual(brief(await events.take()).slice(0, 2), ["subscribed", 1])
})

test("attempts while offline do not count against a transport", async (t) => {
  const { state } = page(t)
  state.onLine = false
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
  const all = [new FakeTransport(), new FakeTransport()] as const
  const client = connect("http://push.example.com", { transports: [...all] })
  t.after(() => client.close())
  client.subscribe("a")
  all[0].last.end()
  assert.equal(client.state, "offline")
  state.onLine = true
  assert.deepEqual(all.map((transport) => transport.opened.length), [1, 0])
})

test("a log gets the states, and no tokens", async (t) => {
  const lines: object[] = []
  const { client, transport } = fakeClient(t, { token: "eyJ.secret.token", log: (line) => lines.push(line) })
  client.subscribe("a")
  await settle()
  transport.last.welcome()
  transport.last.end({ code: 1001 })
  await settle()
  assert.deepEqual(lines.map((line: any) => line.event), ["connecting", "connected", "waiting"])
  assert.equal((lines[2] as any).code, 1001)
  assert.doesNotMatch(JSON.stringify(lines), /secret/)
})

test("a transport whose open throws is not used, and the next one is", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
  t.mock.method(Math, "random", () => 0.5)
  const refusing = {
    open() {
      throw new DOMException("an https page may not open ws:", "SecurityError")
    },
  }
  const good = new FakeTransport()
  const client = connect("http://push.example.com", { transports: [refusing, good] })
  t.after(() => client.close())
  client.subscribe("a")
  assert.equal(client.state, "waiting")
  t.mock.timers.tick(250)
  assert.equal(good.opened.length, 1)
})

test("the first transport is tried again every 5 minutes even if the other one does not last", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
  t.mock.method(Math, "random", () => 0.5)
  const [first, second] = [new FakeTransport(), new FakeTransport()]
  const client = connect("http://push.example.com", { transports: [first, second], fetch: isUp })
  t.after(() => client.close())
  client.subscribe("a")
  for (const pause of [250, 500]) {
    first.last.end()
    await settle()
    t.mock.timers.tick(pause)
  }
  for (let minute = 1; minute <= 5; minute++) {
    assert.deepEqual([first.opened.length, second.opened.length], [2, minute])
    second.last.welcome()
    second.last.confirm(await second.last.command("subscribe"))
    t.mock.timers.tick(59_750)
    if (minute === 5) break
    second.last.end()
    t.mock.timers.tick(250)
  }
  assert.deepEqual([first.opened.length, second.opened.length], [3, 5])
})

test("after a close that says no, nothing is sent again for the subscriptions that have ended", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  client.subscribe("a")
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.end({ code: 4000 })
  await wait(1000)
  assert.equal(transport.opened.length, 1)
  assert.equal(client.state, "idle")
})

test("the rate holds for commands with many topics", async (t) => {
  const { client, transport, wait } = await connected(t)
  await wait(1000)
  for (let i = 0; i < 89; i++) client.publish("a", i).catch(() => {})
  await settle()
  for (let i = 0; i < 200; i++) client.subscribe("t" + i)
  await settle()
  for (let i = 0; i < 300; i++) client.publish("a", i).catch(() => {})
  await settle()
  assert.equal(transport.last.commands.length, 89 + Math.ceil(200 / 64))
})
