// Tabs of one Chromium window that are opened, shown, closed, frozen, crashed, and hang, at random
// and under load. The environment variable TABS_SECONDS says for how long, and SEED repeats a run.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { type AddressInfo, connect as dial, createServer as listen } from "node:net"
import { test, type TestContext } from "node:test"

import type { Event, Position } from "notiflux"
import { type Page, startBrowser } from "./browser.js"
import { isMissing, startSite } from "./chromium.js"
import { randomFrom } from "./proxy.js"
import { startServer, token } from "./server.js"
import { publishSteadily, until, watch } from "./watch.js"

const seconds = Number(process.env.TABS_SECONDS ?? 20)
const seed = Number(process.env.SEED ?? Date.now() % 1e9)
const topics = ["left", "right"]
const slots = 8

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** A proxy before the server that counts what the pages have open: WebSockets and fallbacks. */
const startCounter = async (t: TestContext, target: string) => {
  const count = { url: "", open: 0, opened: 0, fallbacks: 0, longest: 0, most: 0 }
  let since = 0
  const change = (by: number) => {
    if (count.open > 1) count.longest = Math.max(count.longest, Date.now() - since)
    if (count.open === 1 && by > 0) since = Date.now()
    count.open += by
    count.most = Math.max(count.most, count.open)
  }
  const proxy = listen((client) => {
    const upstream = dial(Number(new URL(target).port), "127.0.0.1")
    let isSocket = false
    client.on("data", (data) => {
      if (/^(POST|OPTIONS) \/(stream|poll)/.test(data.toString("latin1", 0, 20))) count.fallbacks++
      if (isSocket || !data.toString("latin1", 0, 7).startsWith("GET /ws")) return
      isSocket = true
      count.opened++
      change(1)
    })
    client.on("close", () => isSocket && change(-1))
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      from.pipe(to)
      from.on("error", () => {}).on("close", () => to.destroy())
    }
  })
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve))
  t.after(() => proxy.close())
  count.url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  return Object.assign(count, { now: () => (count.open > 1 ? Date.now() - since : 0) })
}

/** A tab, and what its consumers got. */
interface Tab {
  name: string
  page: Page
  state: "alive" | "frozen" | "hanging" | "gone"
  events: Event[][]
  published: [string, Position][]
  connections: [number, string][]
  /** Whether it has a socket. */
  leads: boolean
  isHidden: boolean
  /** How often the browser froze it. */
  frozen: number
}

const page = <T>(tab: Tab, f: string) => tab.page.evaluate(f) as Promise<T>

/** Reads what the consumers got. */
const read = async (tab: Tab) => {
  const { events, published, connections, ...now } = await page<Tab>(tab, "take()")
  Object.assign(tab, now)
  events.forEach((list, i) => tab.events[i]!.push(...list))
  tab.published.push(...published)
  tab.connections.push(...connections)
}

test(`${slots} tabs for ${seconds} s`, { timeout: seconds * 1000 + 120_000, skip: isMissing }, async (t) => {
  t.diagnostic(`SEED=${seed}`)
  const random = randomFrom(seed)
  const bearer = token({ topics, exp: 3600 })
  const server = await startServer(t, "--history-messages=100000", "--history-bytes=64MiB")
  const oracles = await watch(server.url, topics, bearer)
  const site = await startSite(t, { "/": readFileSync("test/tabs.html", "utf8") })
  const counter = await startCounter(t, server.url)
  const browser = await startBrowser(t)

  const all: Tab[] = []
  const open = async (): Promise<Tab> => {
    const tab = { name: `tab ${all.length}`, state: "alive", events: topics.map(() => [] as Event[]), published: [], connections: [] } as unknown as Tab
    const parameters = { server: counter.url, token: bearer, topics, name: tab.name }
    tab.page = await browser.open(site + "/#" + encodeURIComponent(JSON.stringify(parameters)))
    while (!(await page(tab, "!!window.take"))) await sleep(20)
    all.push(tab)
    return tab
  }
  const alive = () => all.filter(({ state }) => state === "alive")
  const done: Record<string, number> = {}
  const later: Promise<void>[] = []
  const actions: Record<string, (tab: Tab) => Promise<void>> = {
    async close(tab) {
      await read(tab)
      tab.state = "gone"
      await tab.page.close()
    },
    async crash(tab) {
      await read(tab)
      tab.state = "gone"
      tab.page.crash()
      await sleep(200)
      await tab.page.close()
    },
    async show(tab) {
      await tab.page.show()
    },
    async freeze(tab) {
      // Only a hidden tab is frozen.
      await alive().find((other) => other !== tab)!.page.show()
      while (!tab.isHidden) await read(tab)
      tab.state = "frozen"
      await tab.page.freeze(true)
      const ms = random() * 8000
      later.push(
        (async () => {
          await sleep(ms)
          await tab.page.freeze(false)
          if (tab.state === "frozen") tab.state = "alive"
        })(),
      )
    },
    async hang(tab) {
      tab.state = "hanging"
      const ms = 1000 + random() * 3000
      later.push(
        (async () => {
          await page(tab, `{ const end = Date.now() + ${ms}; while (Date.now() < end); }`).catch(() => {})
          if (tab.state === "hanging") tab.state = "alive"
        })(),
      )
    },
  }

  let isPublishing = true
  const publisher = publishSteadily(server.url, topics, bearer, () => isPublishing)
  for (let i = 0; i < slots; i++) await open()
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const taken = all.filter(({ state }) => state !== "gone").length
    if (taken < slots && random() < 0.5) await open()
    else {
      const tabs = alive()
      const names = ["show", "close", "crash", "freeze", "hang"]
      const name = names[Math.floor(random() * names.length)]!
      const leader = random() < 0.5 && tabs.find(({ leads }) => leads)
      const tab = leader || tabs[Math.floor(random() * tabs.length)]
      if (tab && tabs.length > 2) {
        done[name] = (done[name] ?? 0) + 1
        await actions[name]!(tab)
      }
    }
    await sleep(random() * 500)
    for (const tab of alive()) await read(tab)
    assert.ok(counter.now() <= 10_000, "there are two sockets for more than 10 s")
  }
  await Promise.all(later)
  while (alive().length < slots) await open()
  isPublishing = false
  await publisher
  for (const tab of alive()) await page(tab, "rest()")
  const heads = () => topics.map((topic) => oracles.get(topic)!.head).join()
  interface Status { connection: string; positions: Position[]; isPublishing?: boolean; state: string }
  let statuses: Status[] = []
  const isSettled = async () => {
    statuses = await Promise.all(alive().map((tab) => page<Status>(tab, "report()")))
    return statuses.every(({ positions, connection, isPublishing }) => positions.join() === heads() && connection === statuses[0]!.connection && isPublishing === undefined)
  }
  const deadline = Date.now() + 60_000
  while (!(await isSettled())) {
    assert.ok(Date.now() < deadline, `the tabs do not settle at ${heads()}: ${JSON.stringify(statuses, null, 1)}`)
    await sleep(100)
  }
  await until(() => counter.open === 1)
  for (const tab of alive()) await read(tab)

  let gaps = 0
  let messages = 0
  let published = 0
  for (const tab of all) {
    topics.forEach((topic, i) => {
      gaps += oracles.get(topic)!.check(tab.events[i]!, tab.state === "alive")
      messages += tab.events[i]!.filter(({ type }) => type === "message").length
    })
    for (const [data, position] of tab.published) {
      published++
      assert.equal(oracles.get(topics[0]!)!.count(data), 1, data)
      assert.equal(oracles.get(topics[0]!)!.at(position), data)
    }
  }
  // Connections follow one another: a tab that has left one never finds others that join it later.
  const order = new Map<string, number>()
  for (const [, connection] of all.flatMap(({ connections }) => connections).sort(([a], [b]) => a - b)) if (!order.has(connection)) order.set(connection, order.size)
  for (const { name, connections } of all) {
    const places = connections.map(([, connection]) => order.get(connection)!)
    assert.deepEqual(places, places.toSorted((a, b) => a - b), `${name} went back to an older connection`)
  }
  t.diagnostic(`${all.length} tabs: ${JSON.stringify(done)}; ${messages} messages to consumers, ${published} published by tabs, ${gaps} gaps`)
  t.diagnostic(`${counter.opened} connections, at most ${counter.most} at a time, two for at most ${counter.longest} ms; ${counter.fallbacks} fallbacks`)
  assert.equal(gaps, 0)
  assert.equal(counter.fallbacks, 0)
  assert.ok(counter.longest <= 10_000)
  assert.deepEqual(browser.errors, [])
  const frozen = all.reduce((sum, tab) => sum + tab.frozen, 0)
  assert.ok(frozen > 0 || !done.freeze, "no tab was told that it was frozen")
})
