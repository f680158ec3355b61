import assert from "node:assert/strict"
import { type TestContext, test } from "node:test"

import { connect, type LogLine, type Position } from "notiflux"
import { positions, type PositionsOptions } from "notiflux/positions"
import { type FakeTransport, fakeClient, settle } from "./fake.js"
import { startServer, token } from "./server.js"

const KEY = "notiflux http://push.example.com ann"

/** A storage that counts what is written, and may be full. */
const memory = (content: Record<string, string> = {}) => {
  const storage = {
    content,
    written: 0,
    isFull: false,
    getItem: (key: string) => content[key] ?? null,
    setItem(key: string, value: string) {
      storage.written++
      if (storage.isFull) throw new Error("full")
      content[key] = value
    },
  }
  return storage
}

const setUp = (t: TestContext, options: Partial<PositionsOptions> = {}) => {
  const lines: LogLine[] = []
  const fake = fakeClient(t, { positions: positions({ user: "ann", ...options }), log: (line) => lines.push(line) })
  return { ...fake, errors: () => lines.filter(({ event }) => event === "positions").map(({ error }) => (error as Error).message) }
}

/** Subscribes with handlers that do nothing, and confirms it. It returns the command. */
const follow = async ({ client, transport }: { client: any; transport: FakeTransport }, topic: string, at = "E:0", options = {}) => {
  client.subscribe(topic, { onMessage() {}, onGap: "ignore", ...options })
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  transport.last.confirm(command, at)
  await settle()
  return command
}

test("the next page continues where this one ended, unless it says where", async (t) => {
  const storage = memory()
  const first = setUp(t, { storage })
  await follow(first, "a")
  first.transport.last.message("a", 1)
  await first.wait(1000)
  await first.client.close()
  assert.deepEqual(JSON.parse(storage.content[KEY]!), [["a", "E:1"]])
  t.mock.timers.reset()
  t.mock.restoreAll()
  const second = setUp(t, { storage })
  assert.deepEqual((await follow(second, "a", "E:1")).since, { a: "E:1" })
  await second.client.close()
  t.mock.timers.reset()
  t.mock.restoreAll()
  const third = setUp(t, { storage })
  assert.deepEqual((await follow(third, "a", "E:0", { since: "E:0" })).since, { a: "E:0" })
  await third.client.close()
  t.mock.timers.reset()
  t.mock.restoreAll()
  const other = setUp(t, { storage, user: "bob" })
  assert.deepEqual((await follow(other, "a")).since, {})
})

test("positions are written once a second, and when the page goes away", async (t) => {
  const storage = memory()
  const events = new EventTarget()
  const globals: any = globalThis
  globals.addEventListener = events.addEventListener.bind(events)
  t.after(() => delete globals.addEventListener)
  const fake = setUp(t, { storage })
  await follow(fake, "a")
  for (let i = 1; i <= 50; i++) fake.transport.last.message("a", i)
  await settle()
  await fake.wait(999)
  assert.equal(storage.written, 0)
  await fake.wait(1)
  assert.equal(storage.written, 1)
  fake.transport.last.message("a", 51)
  await settle()
  events.dispatchEvent(new Event("pagehide"))
  assert.deepEqual(JSON.parse(storage.content[KEY]!), [["a", "E:51"]])
})

test("tabs keep what other tabs have written, and the thousand topics that moved last", () => {
  const storage = memory({ [KEY]: JSON.stringify(Array.from({ length: 1000 }, (_, i) => ["t" + i, "E:1"])) })
  const open = () => positions({ user: "ann", storage }).open("http://push.example.com", () => {})
  const [one, two] = [open(), open()]
  one.set("t0", "E:2" as Position)
  two.set("__proto__", "E:3" as Position)
  one.close()
  two.close()
  const three = open()
  assert.deepEqual(["t0", "__proto__", "t1", "t2"].map((topic) => three.get(topic, {})), ["E:2", "E:3", undefined, "E:1"])
  assert.equal(JSON.parse(storage.content[KEY]!).length, 1000)
})

test("a position that could not be written still counts on this page, and is written later", async (t) => {
  const storage = memory()
  const fake = setUp(t, { storage })
  storage.isFull = true
  await follow(fake, "a")
  fake.transport.last.message("a", 1)
  await fake.wait(1000)
  assert.deepEqual(fake.errors(), ["full"])
  storage.isFull = false
  fake.transport.last.message("a", 2)
  await fake.wait(1000)
  assert.deepEqual(JSON.parse(storage.content[KEY]!), [["a", "E:2"]])
})

test("without a storage the client works, and says so to the log", async (t) => {
  Object.defineProperty(globalThis, "localStorage", {
    configurable: true,
    get() {
      throw new Error("private mode")
    },
  })
  t.after(() => delete (globalThis as any).localStorage)
  const fake = setUp(t)
  assert.deepEqual((await follow(fake, "a")).since, {})
  fake.transport.last.message("a", 1)
  await fake.wait(1000)
  assert.ok(fake.errors().length > 0)
  assert.deepEqual(new Set(fake.errors()), new Set(["private mode"]))
})

for (const content of ["", "{", "{}", "null", "7", '"E:1"', '[["a"]]', '[["a",1]]', '[[1,"E:1"]]', '[["a","E:01"]]', '[["a","E:x"]]', "[null]"])
  test(`foreign content is replaced: ${content}`, async (t) => {
    const storage = memory({ [KEY]: content })
    const fake = setUp(t, { storage })
    assert.deepEqual((await follow(fake, "a")).since, {})
    if (content !== "null") assert.equal(fake.errors().length, 1)
    fake.transport.last.message("a", 1)
    await fake.wait(1000)
    assert.deepEqual(JSON.parse(storage.content[KEY]!), [["a", "E:1"]])
  })

test("getState and positions exclude each other, and a user is required", (t) => {
  const { client, transport } = setUp(t, { storage: memory() })
  assert.throws(() => client.subscribe("a", { getState: () => 1 }), { name: "TypeError", message: /exclude each other/ })
  assert.equal(transport.opened.length, 0)
  assert.throws(() => connect("http://push.example.com", { positions: positions({} as PositionsOptions) }), { name: "TypeError", message: /user is not a string/ })
})

test("a page continues on the real server", { timeout: 20_000 }, async (t) => {
  const server = await startServer(t)
  const storage = memory()
  const open = () => {
    const client = connect(server.url, { token: token({ topics: ["a"] }), positions: positions({ user: "ann", storage }) })
    t.after(() => client.close())
    return client
  }
  const first = open()
  const seen: unknown[] = []
  for await (const event of first.subscribe("a", { last: 1 })) {
    if (event.type === "subscribed") for (const data of [1, 2, 3]) await first.publish("a", data)
    if (event.type !== "message") continue
    seen.push(event.data)
    if (event.data === 3) break // This one is not handled.
  }
  await first.close()
  for await (const event of open().subscribe("a")) {
    if (event.type !== "message") continue
    seen.push(event.data)
    break
  }
  assert.deepEqual(seen, [1, 2, 3, 3])
})
