// Connections that are cut at a random byte, with the real server. The environment variable
// CUTS says how many, for each transport and size of the history.

import assert from "node:assert/strict"
import { test } from "node:test"
import WebSocket from "ws"

import { connect, type Event, type Position } from "notiflux"
import { randomFrom, startScissors } from "./proxy.js"
import { startServer, token } from "./server.js"
import { publishSteadily, until, watch } from "./watch.js"

const cuts = Number(process.env.CUTS ?? 50)
const seed = Number(process.env.SEED ?? Date.now() % 1e9)
const topics = ["left", "right"]
const subscribers = 5

for (const transport of ["websocket", "stream", "poll"] as const)
  for (const history of [10, 100_000])
    test(`${cuts} cuts over ${transport} with a history of ${history} messages`, { timeout: 600_000 }, async (t) => {
      t.diagnostic(`SEED=${seed}`)
      const random = randomFrom(seed)
      const real = Math.random
      t.mock.method(Math, "random", () => real() / 500) // so that the client hurries
      const bearer = token({ topics })
      const server = await startServer(t, `--history-messages=${history}`, "--history-bytes=64MiB")
      const oracles = await watch(server.url, topics, bearer)
      const scissors = await startScissors(t, server.url, random)
      const options = { transports: [transport], WebSocket: WebSocket as never, token: bearer }

      let isPublishing = true
      const published = new Map<string, Position>()
      const publishThroughCuts = async () => {
        const client = connect(scissors.url, options)
        t.after(() => client.close())
        for (let n = 0; isPublishing; n++) published.set("own " + n, await client.publish("left", "own " + n))
      }

      const seen: { topic: string; events: Event[]; position: () => Position | undefined }[] = []
      const clients = Array.from({ length: subscribers }, () => connect(scissors.url, options))
      t.after(() => clients.map((client) => client.close()))
      for (const client of clients)
        for (const topic of topics) {
          // Two of them are slow, and have to read on in the history.
          const isSlow = seen.length < 2
          const subscription = client.subscribe(topic, isSlow ? { buffer: 5 } : {})
          const events: Event[] = []
          seen.push({ topic, events, position: () => subscription.position })
          void (async () => {
            for await (const event of subscription) {
              events.push(event)
              if (isSlow) await new Promise((resolve) => setTimeout(resolve, event.type === "message" ? 10 : 0))
            }
          })()
        }
      const publishers = [publishSteadily(server.url, topics, bearer, () => isPublishing), publishThroughCuts()]
      await Promise.race([until(() => scissors.cut >= cuts), ...publishers])
      scissors.rest()
      isPublishing = false
      await Promise.all(publishers)
      await until(() => [...published.keys()].every((data) => oracles.get("left")!.count(data) > 0)) // The oracle may be behind.
      await until(() => seen.every(({ topic, position }) => position() === oracles.get(topic)!.head))

      const gaps = seen.map(({ topic, events }) => oracles.get(topic)!.check(events)).reduce((sum, n) => sum + n)
      t.diagnostic(`${scissors.cut} cuts, ${gaps} gaps, ${published.size} messages published through cuts`)
      if (history > 1000) assert.equal(gaps, 0)
      for (const [data, position] of published) {
        assert.equal(oracles.get("left")!.count(data), 1, data)
        assert.equal(oracles.get("left")!.at(position), data)
      }
    })
