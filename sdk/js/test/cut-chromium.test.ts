// Connections of a page in Chromium that are cut at a random byte, with the real server. The
// environment variable CUTS says how many, for each transport.

import assert from "node:assert/strict"
import { test } from "node:test"

import type { Event, Position } from "notiflux"
import { isMissing, openPage, startChromium, startSite } from "./chromium.js"
import { randomFrom, startScissors } from "./proxy.js"
import { startServer, token } from "./server.js"
import { publishSteadily, until, watch } from "./watch.js"

const cuts = Number(process.env.CUTS ?? 30)
const seed = Number(process.env.SEED ?? Date.now() % 1e9)
const topics = ["left", "right"]

const html = `<!doctype html>
<script type="module">
  import { connect } from "/notiflux.min.js"

  const random = Math.random
  Math.random = () => random() / 500 // so that the client hurries
  let events = []
  let published = []
  let isPublishing = true
  window.start = (url, token, transport, topics) => {
    const subscriptions = []
    for (let i = 0; i < 3; i++) {
      const client = connect(url, { token, transports: [transport] })
      for (const topic of topics) {
        const subscription = client.subscribe(topic, i ? {} : { buffer: 5 })
        const place = subscriptions.push(subscription) - 1
        void (async () => {
          for await (const event of subscription) {
            events.push([place, event])
            if (!i && event.type === "message") await new Promise((resolve) => setTimeout(resolve, 5))
          }
        })()
      }
    }
    const client = connect(url, { token, transports: [transport] })
    const publishing = (async () => {
      for (let n = 0; isPublishing; n++) published.push(["own " + n, await client.publish(topics[0], "own " + n)])
    })()
    window.rest = () => ((isPublishing = false), publishing)
    window.take = () => {
      const taken = { events, published, positions: subscriptions.map(({ position }) => position) }
      events = []
      published = []
      return taken
    }
  }
</script>`

for (const transport of ["websocket", "stream", "poll"])
  test(`${cuts} cuts over ${transport} in Chromium`, { timeout: 600_000, skip: isMissing }, async (t) => {
    t.diagnostic(`SEED=${seed}`)
    const bearer = token({ topics })
    const server = await startServer(t, "--history-messages=100000", "--history-bytes=64MiB")
    const oracles = await watch(server.url, topics, bearer)
    const scissors = await startScissors(t, server.url, randomFrom(seed))
    const browser = await startChromium(t)
    const page = await openPage(browser, await startSite(t, { "/": html }))
    await page.waitForFunction("window.start")

    const seen: Event[][] = Array.from({ length: 3 * topics.length }, () => [])
    const published: [string, Position][] = []
    let positions: Position[] = []
    const read = async () => {
      const taken = await page.evaluate<{ events: [number, Event][]; published: [string, Position][]; positions: Position[] }>("take()")
      for (const [place, event] of taken.events) seen[place]!.push(event)
      published.push(...taken.published)
      positions = taken.positions
    }
    let isPublishing = true
    const publisher = publishSteadily(server.url, topics, bearer, () => isPublishing)
    await page.evaluate(`start(${[scissors.url, bearer, transport, topics].map((value) => JSON.stringify(value))})`)
    while (scissors.cut < cuts) {
      await read()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    scissors.rest()
    isPublishing = false
    await publisher
    await page.evaluate("rest()")
    const heads = () => topics.map((topic) => oracles.get(topic)!.head)
    for (;;) {
      await read()
      const isKnown = published.every(([data]) => oracles.get(topics[0]!)!.count(data) > 0) // The oracle may be behind.
      if (isKnown && positions.every((position, i) => position === heads()[i % topics.length])) break
      await until(() => true)
    }
    const gaps = seen.map((events, i) => oracles.get(topics[i % topics.length]!)!.check(events)).reduce((sum, n) => sum + n)
    t.diagnostic(`${scissors.cut} cuts, ${gaps} gaps, ${published.length} messages published through cuts`)
    assert.equal(gaps, 0)
    for (const [data, position] of published) {
      assert.equal(oracles.get(topics[0]!)!.count(data), 1, data)
      assert.equal(oracles.get(topics[0]!)!.at(position), data)
    }
    assert.deepEqual(page.errors, [])
  })
