// Tabs that share a connection, in a browser of our own making.

import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"

import { connect, type Options } from "notiflux"
import { tabs } from "notiflux/tabs"
import { brief, collect, FakeTransport, settle } from "./fake.js"
import { Model } from "./model.js"
import { type FakeTab, Profile } from "./profile.js"

const url = "http://push.example.com"
const lock = `notiflux/tabs 1 ${url} u`

/** rest lets locks, channels and the server do what they can. */
const rest = async () => {
  for (let i = 0; i < 20; i++) await settle()
}

/** A browser and a server. Time stands still. */
const setUp = (t: TestContext) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 })
  const profile = new Profile(t)
  const model = new Model()

  const wait = async (ms: number) => {
    await rest()
    for (const end = Date.now() + ms; Date.now() < end; await rest()) t.mock.timers.tick(Math.min(10, end - Date.now()))
  }

  /** Opens a tab with a client of its own. The name is its token. */
  const open = (name: string, options: Options & { user?: string; url?: string } = {}) => {
    const tab = profile.open()
    const transport = model.serve(new FakeTransport())
    const client = tab.run(() => {
      const shared = tabs({ user: options.user ?? "u" }).share(transport, options.url ?? url)
      return connect<any>(url, { token: name, transports: [shared], ...options })
    })
    t.after(() => tab.run(() => client.close()))
    return {
      tab,
      client,
      transport,
      subscribe(topic: string, more: object = {}) {
        const subscription = tab.run(() => client.subscribe(topic, more))
        return Object.assign(collect(subscription), { subscription })
      },
      close: () => tab.run(() => client.close()),
    }
  }
  return { profile, model, open, wait }
}

const jwt = (claims: object) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`

test("tabs share a connection, and each subscribes with its own token", async (t) => {
  const { model, open, wait } = setUp(t)
  const [a, b] = [open("token-a"), open("token-b")]
  const left = a.subscribe("news")
  await wait(100)
  assert.deepEqual(model.take("subscribe"), [{ topics: ["news"], since: {}, mode: "all", presence: false, token: "token-a" }])
  model.publish("news", 3)
  const right = b.subscribe("news")
  await wait(100)
  assert.deepEqual(model.take("subscribe"), [{ topics: ["news"], since: {}, mode: "all", presence: false, token: "token-b" }])
  model.publish("news")
  await wait(100)
  assert.deepEqual(brief(await left.take()), ["subscribed", 1, 2, 3, 4])
  assert.deepEqual(await right.take(), [
    { type: "subscribed", topic: "news", position: "E:3", recovered: true, replay: 0 },
    { type: "message", topic: "news", position: "E:4", time: 1000, data: 4 },
  ])
  assert.equal(model.open.length, 1)
  assert.deepEqual(model.take("history"), [])
  assert.equal(a.client.connection, b.client.connection)
})

test("a tab that joins a topic gets what it missed, then what is live", async (t) => {
  const { model, open, wait } = setUp(t)
  const left = open("token-a").subscribe("news")
  await wait(100)
  model.publish("news", 4)
  model.late = []
  const right = open("token-b").subscribe("news", { since: "E:1" })
  await wait(100)
  const [confirm] = model.late.splice(0)
  model.publish("news") // before the tab has joined
  confirm!()
  await wait(100)
  const [history] = model.late.splice(0)
  model.publish("news", 2) // while it reads the history
  history!()
  model.publish("news")
  await wait(100)
  assert.deepEqual(model.take("history"), [{ topic: "news", since: "E:1", limit: 1000, token: "token-b" }])
  const events = await right.take()
  assert.deepEqual(events[0], { type: "subscribed", topic: "news", position: "E:1", recovered: true, replay: 4 })
  assert.deepEqual(brief(events), ["subscribed", 2, 3, 4, 5, 6, 7, 8])
  assert.deepEqual(brief(await left.take()), ["subscribed", 1, 2, 3, 4, 5, 6, 7, 8])
})

test("a tab that has what the connection has needs no history", async (t) => {
  const { model, open, wait } = setUp(t)
  model.publish("news", 4)
  open("token-a").subscribe("news")
  await wait(100)
  const right = open("token-b").subscribe("news", { since: "E:4" })
  await wait(100)
  model.publish("news")
  await wait(100)
  assert.deepEqual(brief(await right.take()), ["subscribed", 5])
  assert.deepEqual(model.take("history"), [])
})

test("a tab that has more than the connection needs no history, and no message again", async (t) => {
  const { model, open, wait } = setUp(t)
  model.publish("news", 4)
  open("token-a").subscribe("news")
  await wait(100)
  model.behind = 2
  const right = open("token-b").subscribe("news", { since: "E:4" })
  await wait(100)
  for (const offset of [3, 4]) model.send("news", { type: "message", topic: "news", position: `E:${offset}`, time: 1000, data: offset })
  model.publish("news")
  await wait(100)
  const events = await right.take()
  assert.deepEqual(events[0], { type: "subscribed", topic: "news", position: "E:4", recovered: true, replay: 0 })
  assert.deepEqual(brief(events), ["subscribed", 5])
  assert.deepEqual(model.take("history"), [])
})

test("a tab that joins gets the last messages", async (t) => {
  const { model, open, wait } = setUp(t)
  open("token-a").subscribe("news")
  await wait(100)
  model.publish("news", 5)
  const right = open("token-b").subscribe("news", { last: 2 })
  const many = open("token-c").subscribe("news", { last: 100 })
  await wait(100)
  const events = await right.take()
  assert.deepEqual(events[0], { type: "subscribed", topic: "news", position: "E:3", recovered: true, replay: 2 })
  assert.deepEqual(brief(events), ["subscribed", 4, 5])
  assert.deepEqual(brief(await many.take()), ["subscribed", 1, 2, 3, 4, 5])
})

test("a tab that joins is told if it misses messages", async (t) => {
  const { model, open, wait } = setUp(t)
  open("token-a").subscribe("news")
  await wait(100)
  model.publish("news", 5)
  model.log("news").kept = [5]
  const right = open("token-b").subscribe("news", { since: "E:2" })
  await wait(100)
  model.publish("news")
  await wait(100)
  assert.deepEqual(brief(await right.take()), ["subscribed", "gap expired E:5", 6])
})

test("a long history comes page by page", async (t) => {
  const { model, open, wait } = setUp(t)
  open("token-a").subscribe("news")
  await wait(100)
  model.publish("news", 50)
  model.page = 20
  const right = open("token-b").subscribe("news", { since: "E:0" })
  await wait(2000)
  model.publish("news")
  await wait(100)
  const events = brief(await right.take())
  assert.deepEqual(events.filter((event) => event !== "subscribed"), Array.from({ length: 51 }, (_, i) => i + 1))
  assert.equal(model.take("history").length, 3)
})

test("the connection gets all messages as long as a tab wants them", async (t) => {
  const { model, open, wait } = setUp(t)
  const mode = () => [...model.subscriptions.values()][0]!.get("news")!.mode
  const [a, b, c] = [open("token-a"), open("token-b"), open("token-c")]
  const left = a.subscribe("news", { mode: "latest" })
  await wait(100)
  assert.equal(mode(), "latest")
  const right = b.subscribe("news")
  await wait(100)
  assert.equal(mode(), "all")
  c.subscribe("news", { mode: "latest" })
  c.subscribe("other", { mode: "latest" })
  model.take("subscribe")
  await wait(100)
  assert.equal(mode(), "all")
  assert.deepEqual(model.take("subscribe").map(({ topics, mode }) => [topics, mode]), [[["news"], "all"], [["other"], "latest"]])
  model.publish("news")
  b.tab.run(() => right.subscription.close())
  await wait(100)
  model.publish("news")
  await wait(1000)
  assert.equal(mode(), "latest")
  assert.deepEqual(brief(await left.take()), ["subscribed", 1, "subscribed", 2])
})

test("the user is present as long as a tab wants that", async (t) => {
  const { model, open, wait } = setUp(t)
  const isPresent = () => [...model.subscriptions.values()][0]!.get("news")!.presence
  const [a, b] = [open("token-a"), open("token-b")]
  const left = a.subscribe("news")
  await wait(100)
  assert.equal(isPresent(), false)
  const right = b.subscribe("news", { presence: true })
  await wait(100)
  assert.equal(isPresent(), true)
  assert.deepEqual(model.take("presence"), [{ topic: "news", token: "token-b" }])
  model.send("news", { type: "join", topic: "news", member: { sub: "v" } })
  await wait(100)
  assert.deepEqual(brief(await right.take()), ["subscribed", "present", "joined"])
  assert.deepEqual(brief(await left.take()), ["subscribed"])
  b.close()
  model.publish("news")
  await wait(1000)
  assert.equal(isPresent(), false)
  model.publish("news")
  await wait(1000)
  assert.deepEqual(brief(await left.take()), [1, "subscribed", 2])
})

test("the token of a tab is refused, and others go on", async (t) => {
  const { model, open, wait } = setUp(t)
  model.refuse = ({ token }, topic) => (token === "token-b" && topic === "news" ? "topic_denied" : undefined)
  const left = open("token-a").subscribe("news")
  await wait(100)
  const b = open("token-b")
  const right = b.subscribe("news")
  const other = b.subscribe("other")
  await wait(100)
  model.publish("news")
  await wait(100)
  await assert.rejects(right.take(), { code: "topic_denied" })
  assert.deepEqual(brief(await other.take()), ["subscribed"])
  assert.deepEqual(brief(await left.take()), ["subscribed", 1])
  assert.equal(model.open.length, 1)
})

test("a command that is refused as a whole is refused to its tab, and leaves nothing", async (t) => {
  const { model, open, wait } = setUp(t)
  model.spoil = ({ topics }) => (topics.includes("bad") ? "malformed" : undefined)
  const a = open("token-a")
  const [good, bad] = [a.subscribe("news"), a.subscribe("bad")]
  await wait(100)
  model.publish("news")
  await wait(100)
  assert.deepEqual(brief(await good.take()), ["subscribed", 1])
  await assert.rejects(bad.take(), { code: "malformed" })
})

test("a refused tab does not keep a topic subscribed", async (t) => {
  const { model, open, wait } = setUp(t)
  model.refuse = ({ token }) => (token === "token-b" ? "topic_denied" : undefined)
  const a = open("token-a")
  const left = a.subscribe("news")
  const b = open("token-b")
  await wait(100)
  const right = b.subscribe("news")
  await wait(100)
  await assert.rejects(right.take(), { code: "topic_denied" })
  a.tab.run(() => left.subscription.close())
  await wait(1000)
  assert.equal([...model.subscriptions.values()][0]!.size, 0)
})

test("a tab may not read what it missed with a token that ended", async (t) => {
  const { model, open, wait } = setUp(t)
  open("token-a").subscribe("news")
  await wait(100)
  model.publish("news", 2)
  model.refuse = ({ type, token }) => (type === "history" && token === "token-b" ? "topic_denied" : undefined)
  const right = open("token-b").subscribe("news", { since: "E:0" })
  await wait(100)
  model.publish("news")
  await wait(100)
  await assert.rejects(right.take(), { code: "topic_denied" })
})

test("each tab gets messages until its own token ends", async (t) => {
  const { model, open, wait } = setUp(t)
  const first = jwt({ until: 1002 })
  const given: unknown[] = []
  const token = ({ code }: { code?: string }) => (given.push(code), code ? jwt({ until: 2000 }) : first)
  const left = open("", { token: jwt({}) }).subscribe("news")
  const right = open("", { token: token as never }).subscribe("news")
  await wait(100)
  model.publish("news")
  await wait(1000)
  model.refuse = (command) => (command.token === first ? "token_expired" : undefined)
  model.publish("news", 1, { time: 1_001_999 })
  model.publish("news", 1, { time: 1_002_000 })
  await wait(50)
  assert.deepEqual(brief(await right.take()), ["subscribed", 1, 2])
  assert.deepEqual(brief(await left.take()), ["subscribed", 1, 2, 3])
  await wait(1000)
  assert.deepEqual(given, [undefined, "token_expired"])
  assert.deepEqual(brief(await right.take()), ["subscribed", 3])
})

test("a subscription ends at its time without a message too", async (t) => {
  const { model, open, wait } = setUp(t)
  const first = jwt({ until: 1002 })
  open("", { token: jwt({}) }).subscribe("news")
  const right = open("", { token: ({ code }) => (code ? null : first) }).subscribe("news")
  await wait(1500)
  model.refuse = (command) => (command.token === first ? "token_expired" : undefined)
  assert.deepEqual(brief(await right.take()), ["subscribed"])
  await wait(1500)
  await assert.rejects(right.take(), { code: "token_expired" })
})

test("a clock that is ahead ends no subscription", async (t) => {
  const { model, open, wait } = setUp(t)
  const right = open("", { token: jwt({ until: 500 }) }).subscribe("news")
  await wait(60_000)
  model.publish("news")
  await wait(1000)
  assert.equal(brief(await right.take()).at(-1), 1)
  const { length } = model.take("subscribe")
  assert.ok(length < 10, `${length} subscriptions in a minute`)
})

test("the server ends the subscription of the last token, and others go on with theirs", async (t) => {
  const { model, open, wait } = setUp(t)
  const left = open("token-a").subscribe("news")
  await wait(100)
  const right = open("token-b", { token: ({ code }) => (code ? null : "token-b") }).subscribe("news")
  await wait(100)
  model.refuse = ({ token }) => (token === "token-b" ? "token_expired" : undefined)
  model.send("news", { type: "unsubscribed", topics: ["news"], code: "token_expired" })
  await wait(1000)
  model.publish("news")
  await wait(100)
  assert.deepEqual(brief(await left.take()), ["subscribed", "subscribed", 1])
  await assert.rejects(right.take(), { code: "token_expired" })
})

test("frames within 16 ms go together", async (t) => {
  const { profile, model, open, wait } = setUp(t)
  const [a, b] = [open("token-a"), open("token-b")]
  a.subscribe("news")
  const right = b.subscribe("news")
  await wait(100)
  await right.take()
  profile.posts.length = 0
  model.publish("news", 3)
  await rest()
  t.mock.timers.tick(15)
  await rest()
  assert.deepEqual(brief(await right.take()), [])
  t.mock.timers.tick(1)
  await rest()
  assert.deepEqual(brief(await right.take()), [1, 2, 3])
  assert.equal(profile.posts.filter(({ data }) => data[1]).length, 2, "one for each tab")
})

test("a leader that is hidden does not wait for timers", async (t) => {
  const { model, open, wait } = setUp(t)
  const a = open("token-a")
  a.subscribe("news")
  await wait(100)
  const right = open("token-b").subscribe("news")
  await wait(100)
  await right.take()
  a.tab.hide(true)
  await wait(20)
  a.tab.run(() => model.publish("news", 2))
  await rest()
  assert.deepEqual(brief(await right.take()), [1, 2])
})

for (const [what, count, more] of [["1,000 messages", 1001, {}], ["1 MiB", 11, { data: "x".repeat(100_000) }]] as const)
  test(`a tab that leaves ${what} unacknowledged is detached, and resumes`, async (t) => {
    const { profile, model, open, wait } = setUp(t)
    const [a, b] = [open("token-a"), open("token-b")]
    const left = a.subscribe("news")
    await wait(100)
    const right = b.subscribe("news", { buffer: 5000 })
    await wait(100)
    b.tab.hide(true) // It does not ask.
    b.tab.hang()
    let taken = 0
    for (let i = 0; i < count; i++) {
      model.publish("news", 1, more)
      if (i % 10 === 0) await wait(20)
      taken += (await left.take()).length
    }
    await wait(20)
    assert.equal(taken + (await left.take()).length, count + 1)
    const detached = () => profile.posts.filter(({ data }) => typeof data[2] === "object").length
    assert.equal(detached(), 0)
    model.publish("news")
    await wait(1000)
    assert.equal(detached(), 1)
    b.tab.wake()
    const events = []
    for (let i = 0; i < 3; i++) {
      await wait(500)
      events.push(...(await right.take()))
    }
    model.publish("news")
    await wait(100)
    events.push(...(await right.take()))
    const messages = events.filter(({ type }) => type === "message").map(({ position }: any) => +position.slice(2))
    assert.deepEqual(messages, Array.from({ length: count + 2 }, (_, i) => i + 1))
  })

test("answers do not count as unacknowledged", async (t) => {
  const { profile, model, open, wait } = setUp(t)
  open("token-a").subscribe("news")
  await wait(100)
  model.publish("news", 900)
  model.late = []
  const b = open("token-b")
  const right = b.subscribe("news", { since: "E:0", buffer: 5000 })
  await wait(100)
  model.late.splice(0).forEach((answer) => answer())
  await wait(100)
  b.tab.hide(true)
  b.tab.hang()
  model.late.splice(0).forEach((answer) => answer())
  model.late = undefined
  for (let i = 0; i < 150; i++) {
    model.publish("news")
    await wait(20)
  }
  assert.ok(!profile.posts.some(({ data }) => typeof data[2] === "object"))
  b.tab.wake()
  await wait(100)
  assert.equal((await right.take()).length, 1051)
})

test("the tabs send no more commands than the server takes", async (t) => {
  const { model, open, wait } = setUp(t)
  const mocked = t.mock.method(performance, "now", () => Date.now())
  for (let i = 0; i < 16; i++) {
    const { tab, client } = open("token-" + i)
    tab.run(() => {
      for (let n = 0; n < 80; n++) client.publish("news", n).catch(() => {})
    })
  }
  await wait(800)
  const { length } = model.take("broadcast")
  assert.ok(length > 850 && length <= 1000, `${length} commands at once`)
  await wait(1000)
  const later = model.take("broadcast").length
  assert.ok(later > 50 && later <= 100, `${later} commands in a second`)
  mocked.mock.restore()
})

for (const [how, leave] of [
  ["closes", (_: FakeTab, close: () => void) => close()],
  ["crashes", (tab: FakeTab) => tab.crash()],
  ["is frozen", (tab: FakeTab) => tab.event("freeze")],
  ["is hidden for good", (tab: FakeTab) => tab.event("pagehide")],
] as const)
  test(`the leader ${how}, and the next tab takes over`, async (t) => {
    const { profile, model, open, wait } = setUp(t)
    const [a, b, c] = [open("token-a"), open("token-b"), open("token-c")]
    a.subscribe("news")
    await wait(100)
    const others = [b.subscribe("news"), c.subscribe("news")]
    await wait(100)
    model.publish("news")
    await wait(100)
    assert.equal(profile.holder(lock), a.tab)
    const [old] = model.open
    leave(a.tab, a.close)
    if (how === "crashes") old!.close() // The browser closes its socket.
    await rest()
    assert.ok(old!.isClosed)
    assert.ok([...profile.locks.values()].every((claims) => claims.every(({ tab }) => tab !== a.tab)), "it has released its locks")
    model.publish("news")
    await wait(300)
    model.publish("news")
    await wait(100)
    for (const other of others) assert.deepEqual(brief(await other.take()), ["subscribed", 1, "subscribed", 2, 3])
    assert.notEqual(profile.holder(lock), a.tab)
    assert.equal(model.open.length, 1)
    assert.equal(b.client.connection, c.client.connection)
  })

test("a tab that was frozen comes back, and misses nothing", async (t) => {
  const { model, open, wait } = setUp(t)
  const a = open("token-a")
  const left = a.subscribe("news")
  open("token-b").subscribe("news")
  await wait(100)
  a.tab.event("freeze")
  await wait(100)
  model.publish("news")
  await wait(1000)
  assert.deepEqual(brief(await left.take()), ["subscribed", "disconnected"])
  a.tab.event("resume")
  await wait(1000)
  assert.deepEqual(brief(await left.take()), ["subscribed", 1])
  assert.equal(model.open.length, 1)
})

test("a tab that is gone leaves its topics", async (t) => {
  const { model, open, wait } = setUp(t)
  const [a, b] = [open("token-a"), open("token-b")]
  a.subscribe("news")
  await wait(100)
  b.subscribe("other")
  await wait(100)
  assert.deepEqual([...[...model.subscriptions.values()][0]!.keys()], ["news", "other"])
  b.tab.crash()
  await wait(100)
  assert.deepEqual([...[...model.subscriptions.values()][0]!.keys()], ["news"])
})

test("a visible tab takes over from a leader that does not answer for 2 s", async (t) => {
  const { profile, model, open, wait } = setUp(t)
  const [a, b, c] = [open("token-a"), open("token-b"), open("token-c")]
  const left = a.subscribe("news")
  await wait(100)
  const right = b.subscribe("news")
  const hidden = c.subscribe("news")
  await wait(100)
  c.tab.hide(true)
  a.tab.hang()
  b.tab.hide(true)
  await wait(30_000)
  assert.equal(profile.holder(lock), a.tab, "hidden tabs do nothing")
  b.tab.hide(false)
  await wait(1900)
  assert.equal(profile.holder(lock), a.tab)
  await wait(200)
  assert.notEqual(profile.holder(lock), a.tab)
  await wait(500)
  model.publish("news")
  await wait(100)
  assert.deepEqual(brief(await right.take()).at(-1), 1)
  assert.deepEqual(brief(await hidden.take()).at(-1), 1)
  assert.equal(model.open.length, 2)
  // The old leader delivers nothing to others, and closes its socket.
  const { length } = profile.posts
  a.tab.wake()
  await wait(1000)
  assert.equal(model.open.length, 1)
  const [term] = profile.posts.slice(0, length).findLast(({ data }) => data[1] && typeof data[1] === "string")!.data
  assert.ok(profile.posts.slice(length).every(({ data }) => typeof data[1] !== "string" || data[0] >= term || data[2]))
  assert.deepEqual(brief(await left.take()).at(-1), 1)
})

test("a command that the leader does not answer makes the tab ask at once", async (t) => {
  const { profile, open, wait } = setUp(t)
  const [a, b] = [open("token-a"), open("token-b")]
  a.subscribe("news")
  await wait(100)
  b.subscribe("news")
  await wait(100)
  a.tab.hang()
  const published = b.tab.run(() => b.client.publish("news", 1))
  await wait(2100)
  assert.notEqual(profile.holder(lock), a.tab)
  await wait(500)
  await published
})

test("a tab that opens while the leader hangs takes over when it is visible", async (t) => {
  const { profile, open, wait } = setUp(t)
  const [a, b] = [open("token-a"), open("token-b")]
  a.subscribe("news")
  await wait(100)
  a.tab.hang()
  b.tab.hide(true)
  const right = b.subscribe("news")
  await wait(5000)
  assert.equal(profile.holder(lock), a.tab)
  b.tab.hide(false)
  await wait(2500)
  assert.equal(profile.holder(lock), b.tab)
  assert.deepEqual(brief(await right.take()), ["subscribed"])
})

test("hidden tabs without a leader find the next one", async (t) => {
  const { model, open, wait } = setUp(t)
  const [a, b, c] = [open("token-a"), open("token-b"), open("token-c")]
  a.subscribe("news")
  await wait(100)
  a.tab.hang()
  const both = [b, c].map((tab) => {
    tab.tab.hide(true)
    return tab.subscribe("news")
  })
  await wait(1000)
  a.tab.crash()
  model.open[0]!.close()
  await wait(300)
  for (const each of both) assert.deepEqual(brief(await each.take()), ["subscribed"])
  assert.equal(model.open.length, 1)
})

test("a leader whose lock is stolen closes its connection", async (t) => {
  const { profile, model, open, wait } = setUp(t)
  open("token-a").subscribe("news")
  await wait(100)
  const [old] = model.open
  const thief = profile.open()
  void thief.run(() => navigator.locks.request(lock, { steal: true }, () => new Promise(() => {})))
  await wait(100)
  assert.ok(old!.isClosed)
  assert.equal(model.open.length, 0)
  thief.crash()
  await wait(100)
  assert.equal(model.open.length, 1)
})

test("a tab that is visible and hears nothing asks, and a leader that answers stays", async (t) => {
  const { profile, model, open, wait } = setUp(t)
  open("token-a").subscribe("news")
  await wait(100)
  open("token-b").subscribe("news")
  await wait(60_000)
  assert.equal(profile.holder(lock), profile.tabs[0])
  assert.equal(model.open.length, 1)
})

test("a tab listens to no leader with a lower term", async (t) => {
  const { profile, model, open, wait } = setUp(t)
  open("token-a").subscribe("news")
  await wait(100)
  const b = open("token-b")
  const right = b.subscribe("news")
  await wait(100)
  const { name, data } = profile.posts.findLast(({ from, data }) => from === b.tab && data[1]?.type === "subscribe")!
  const frame = (n: number) => JSON.stringify({ type: "message", topic: "news", position: `E:${n}`, data: n })
  const post = (data: unknown) => profile.open().run(() => new BroadcastChannel(name).postMessage(data))
  post([data[0] - 1, frame(1)])
  await wait(100)
  assert.deepEqual(brief(await right.take()), ["subscribed"])
  post([data[0] + 1000, frame(1)])
  await wait(100)
  model.publish("news")
  await wait(4000)
  assert.deepEqual(brief(await right.take()), ["subscribed", 1], "it has resumed")
  assert.equal(model.open.length, 1)
  const termOf = (tab: FakeTab) => profile.posts.findLast(({ from, name }) => from === tab && name !== lock)!.data[0]
  profile.open().run(() => new BroadcastChannel(lock).postMessage([data[0] + 2000]))
  await wait(2000)
  model.publish("news")
  await wait(100)
  assert.deepEqual(brief(await right.take()), ["subscribed", 2], "it has resumed")
  assert.ok(termOf(b.tab) > data[0] + 2000)
})

test("a message that is published while the leader goes is published once", async (t) => {
  const { model, open, wait } = setUp(t)
  const [a, b] = [open("token-a"), open("token-b")]
  a.subscribe("news")
  await wait(100)
  b.subscribe("news")
  await wait(100)
  model.late = []
  let position: unknown
  void b.tab.run(() => b.client.publish("news", "x")).then((p) => (position = p))
  await wait(100)
  model.late = undefined
  a.close()
  await wait(1000)
  const [first, second, ...more] = model.take("broadcast")
  assert.equal(first.key, second.key)
  assert.equal(second.token, "token-b")
  assert.deepEqual(more, [])
  assert.equal(position, "E:2", "of the second attempt: the model knows no keys")
})

test("different users and servers do not share", async (t) => {
  const { profile, model, open, wait } = setUp(t)
  for (const options of [{}, { user: "v" }, { url: "http://other.example.com" }]) open("token", options).subscribe("news")
  await wait(100)
  assert.equal(model.open.length, 3)
  const names = [...profile.locks.keys()]
  for (const [url, user] of [["http://push.example.com", "u"], ["http://push.example.com", "v"], ["http://other.example.com", "u"]])
    assert.ok(names.includes(`notiflux/tabs 1 ${url} ${user}`), names.join())
})

test("there is no sharing without a user", () => {
  assert.throws(() => tabs({ user: "" }), TypeError)
  assert.throws(() => tabs({} as never), TypeError)
})

test("without locks each tab has its own connection", async (t) => {
  const { profile, model, open, wait } = setUp(t)
  profile.denial = new DOMException("denied", "SecurityError")
  const both = [open("token-a"), open("token-b")].map((tab) => tab.subscribe("news"))
  await wait(100)
  model.publish("news")
  await wait(100)
  assert.equal(model.open.length, 2)
  for (const each of both) assert.deepEqual(brief(await each.take()), ["subscribed", 1])
  const transport = new FakeTransport()
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true })
  assert.equal(tabs({ user: "u" }).share(transport, url), transport)
  Object.defineProperty(globalThis, "navigator", { value: undefined, configurable: true })
  assert.equal(tabs({ user: "u" }).share(transport, url), transport)
})

test("all tabs are told how the connection ended, and one of them connects again", async (t) => {
  const { model, open, wait } = setUp(t)
  const all = ["a", "b", "c"].map((name) => open("token-" + name).subscribe("news"))
  await wait(100)
  const [connection] = model.open
  connection!.frame({ type: "bye", code: "draining", after: 700 })
  connection!.end({ code: 1012 })
  await wait(50)
  for (const each of all) assert.deepEqual((await each.take()).at(-1), { type: "disconnected", topic: "news", code: 1012, retryIn: 700 })
  await wait(1000)
  model.publish("news")
  await wait(100)
  for (const each of all) assert.deepEqual(brief(await each.take()), ["subscribed", 1])
  assert.equal(model.open.length, 1)
  model.open[0]!.end({ code: 4000 })
  await wait(100)
  for (const each of all) await assert.rejects(each.take(), { code: "disconnected", status: 4000 })
})

test("where WebSockets do not work each tab falls back on its own", async (t) => {
  const { profile, model, wait } = setUp(t)
  const blocked = () => ({
    open: ({ end }: any) => {
      setImmediate(() => end({}))
      return { send() {}, close() {} }
    },
  })
  const all = ["a", "b"].map((name) => {
    const tab = profile.open()
    const own = model.serve(new FakeTransport())
    return tab.run(() => {
      const client = connect<any>(url, { token: name, transports: [tabs({ user: "u" }).share(blocked(), url), own], fetch: async () => new Response() })
      t.after(() => tab.run(() => client.close()))
      return collect(client.subscribe("news"))
    })
  })
  await wait(5000)
  model.publish("news")
  await wait(100)
  for (const each of all) assert.deepEqual(brief(await each.take()), ["subscribed", 1])
  assert.equal(model.open.length, 2)
})

test("a tab without a subscription does nothing, and a client that closes leaves nothing", async (t) => {
  const { profile, open, wait } = setUp(t)
  const a = open("token-a")
  await wait(100)
  assert.equal(profile.channels.size, 0)
  a.subscribe("news")
  await wait(100)
  assert.ok(profile.channels.size > 0)
  a.close()
  await rest()
  assert.equal(profile.channels.size, 0)
  assert.ok([...profile.locks.values()].every((claims) => claims.length === 0))
})
