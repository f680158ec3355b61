// Tabs in a browser of our own making, with the real server.

import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"
import WebSocket from "ws"

import { connect, type Event, type Options } from "notiflux"
import { tabs } from "notiflux/tabs"
import { Profile } from "./profile.js"
import { startServer, token } from "./server.js"
import { publishSteadily, until, watch } from "./watch.js"

const setUp = async (t: TestContext, ...flags: string[]) => {
  const server = await startServer(t, ...flags)
  const profile = new Profile(t)
  /** Opens a tab that subscribes to a topic, and collects the events. */
  const open = (topic: string, options: Options, subscribe: object = {}) => {
    const events: Event[] = []
    const tab = profile.open()
    const client = tab.run(() => connect<any>(server.url, { WebSocket: WebSocket as never, transports: ["websocket"], tabs: tabs({ user: "u1" }), ...options }))
    t.after(() => tab.run(() => client.close()))
    const subscription = tab.run(() => client.subscribe(topic, subscribe))
    let error: any
    const ended = tab.run(async () => {
      try {
        for await (const event of subscription) events.push(event)
      } catch (e) {
        error = e
      }
    })
    const has = (type: string) => until(() => events.some((event) => event.type === type))
    return { tab, client, events, has, ended, error: () => error, close: () => tab.run(() => client.close()) }
  }
  const publish = async (messages: object[]) => {
    const headers = { Authorization: `Bearer ${token({ topics: ["news"] })}`, "Content-Type": "application/json" }
    const response = await fetch(server.url + "/broadcast", { method: "POST", headers, body: JSON.stringify(messages.map((message) => ({ topic: "news", ...message }))) })
    assert.equal(response.status, 200)
  }
  return { server, open, publish }
}

test("a token ends the subscriptions of its own tab", { timeout: 60_000 }, async (t) => {
  const { server, open } = await setUp(t)
  const bearer = token({ topics: ["news"] })
  const oracle = (await watch(server.url, ["news"], bearer)).get("news")!
  let isPublishing = true
  const publisher = publishSteadily(server.url, ["news"], bearer, () => isPublishing)
  const brief = (end: number) => ({ token: ({ code }: { code?: string }) => (code ? null : token({ topics: ["news"], until: end })) }) as never
  const lasting = open("news", { token: bearer })
  await lasting.has("message")
  // Not the last one to subscribe: the leader ends it. The last one: the server does.
  const first = open("news", brief(2))
  await first.has("message")
  const other = open("news", { token: bearer })
  await other.has("message")
  await first.ended
  assert.equal(first.error().code, "token_expired")
  const last = open("news", brief(2))
  await last.ended
  assert.equal(last.error().code, "token_expired")
  assert.equal(lasting.client.connection, other.client.connection)
  isPublishing = false
  await publisher
  for (const { events } of [lasting, other]) await until(() => (events.at(-1) as any).position === oracle.head)
  for (const { events } of [lasting, other]) assert.equal(oracle.check(events), 0)
  for (const { events } of [first, last]) assert.equal(oracle.check(events, false), 0)
  assert.ok(last.events.some(({ type }) => type === "message"))
})

test("a token that ends in a month changes nothing", { timeout: 60_000 }, async (t) => {
  const { open } = await setUp(t)
  const bearer = token({ topics: ["news"], exp: 4e6, until: 3e6 })
  const all = [1, 2].map(() => open("news", { token: bearer }))
  for (const tab of all) await tab.has("subscribed")
  await new Promise((resolve) => setTimeout(resolve, 1000))
  for (const tab of all) assert.equal(tab.events.length, 1)
})

for (const kept of [3, 1000])
  test(`a tab joins with the last messages of a topic that keeps ${kept}, and can resume from before them`, { timeout: 60_000 }, async (t) => {
    const { server, open, publish } = await setUp(t, `--history-messages=${kept}`)
    const bearer = token({ topics: ["news"] })
    await open("news", { token: bearer }).has("subscribed")
    await publish([1, 2, 3, 4, 5].map((message) => ({ message })))
    for (const last of [2, 3, 100]) {
      const tab = open("news", { token: bearer }, { last })
      const count = Math.min(last, kept, 5)
      await until(() => tab.events.length === count + 1)
      const [subscribed, ...messages] = tab.events as any[]
      assert.deepEqual(messages.map(({ data }) => data), [1, 2, 3, 4, 5].slice(-count))
      assert.deepEqual([subscribed.recovered, subscribed.replay], [true, count])
      const alone = connect<any>(server.url, { WebSocket: WebSocket as never, token: bearer })
      t.after(() => alone.close())
      for await (const event of alone.subscribe("news", { since: subscribed.position })) {
        assert.deepEqual(event, subscribed)
        break
      }
    }
  })

test("all tabs are one member of a topic", { timeout: 60_000 }, async (t) => {
  const { server, open } = await setUp(t)
  const watcher = connect<any>(server.url, { WebSocket: WebSocket as never, token: token({ topics: ["news"], sub: "watcher" }) })
  t.after(() => watcher.close())
  const members = async () => (await watcher.presence("news")).members.map(({ sub }) => sub)
  const [a, b] = [1, 2].map(() => open("news", { token: token({ topics: ["news"], sub: "u1" }) }, { presence: true }))
  for (const tab of [a!, b!]) await tab.has("present")
  assert.deepEqual(await members(), ["u1"])
  assert.equal((await watcher.presence("news")).subscribers, 1)
  a!.close()
  await until(() => b!.events.filter(({ type }) => type === "present").length === 2)
  assert.deepEqual(await members(), ["u1"])
})

test("a message that excludes the connection reaches no tab", { timeout: 60_000 }, async (t) => {
  const { open, publish } = await setUp(t)
  const bearer = token({ topics: ["news"] })
  const all = [1, 2].map(() => open("news", { token: bearer }))
  for (const tab of all) await tab.has("subscribed")
  await publish([{ message: "for others", exclude: all[0]!.client.connection }, { message: "for all" }])
  for (const tab of all) {
    await tab.has("message")
    assert.deepEqual(tab.events.flatMap((event) => (event.type === "message" ? [event.data] : [])), ["for all"])
  }
})
