// Connections that are cut at a random byte, with the real server. The environment variable
// CUTS says how many, for each transport and size of the history.

import assert from "node:assert/strict"
import { test } from "node:test"
import WebSocket from "ws"

import { connect, type Event, type Position } from "notiflux"
import { Oracle } from "./oracle.js"
import { randomFrom, startScissors } from "./proxy.js"
import { startServer, token } from "./server.js"

const cuts = Number(process.env.CUTS ?? 50)
const seed = Number(process.env.SEED ?? Date.now() % 1e9)
const topics = ["left", "right"]
const subscribers = 5

/** until waits for a condition, which is checked often. */
const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** Sees the messages of the topics over a connection that is not cut, without the client. */
const watch = async (url: string, bearer: string): Promise<Map<string, Oracle>> => {
  const socket = new WebSocket(url.replace("http", "ws") + "/ws", ["notiflux.v1.json"])
  const oracles = new Map<string, Oracle>()
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject)
    socket.on("message", (text) => {
      const frame = JSON.parse(String(text))
      if (frame.type === "welcome") socket.send(JSON.stringify({ type: "subscribe", id: 1, topics, token: bearer }))
      if (frame.type === "subscribed") {
        for (const topic of topics) oracles.set(topic, new Oracle(frame.topics[topic].position))
        resolve()
      }
      if (frame.type === "message") oracles.get(frame.topic)!.add(frame.position, frame.data)
    })
  })
  return oracles
}

for (const transport of ["websocket", "stream", "poll"] as const)
  for (const history of [10, 100_000])
    test(`${cuts} cuts over ${transport} with a history of ${history} messages`, { timeout: 600_000 }, async (t) => {
      t.diagnostic(`SEED=${seed}`)
      const random = randomFrom(seed)
      const real = Math.random
      t.mock.method(Math, "random", () => real() / 500) // so that the client hurries
      const bearer = token({ topics })
      const server = await startServer(t, `--history-messages=${history}`, "--history-bytes=64MiB")
      const oracles = await watch(server.url, bearer)
      const scissors = await startScissors(t, server.url, random)
      const options = { transports: [transport], WebSocket: WebSocket as never, token: bearer }

      let isPublishing = true
      const publish = async () => {
        for (let n = 0; isPublishing; n++) {
          const messages = topics.map((topic) => ({ topic, message: { n, text: "x".repeat(n % 200) } }))
          const response = await fetch(server.url + "/broadcast", { method: "POST", headers: { Authorization: `Bearer ${bearer}`, "Content-Type": "application/json" }, body: JSON.stringify(messages) })
          assert.equal(response.status, 200)
          await response.text()
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
      }
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
      const publishers = [publish(), publishThroughCuts()]
      await Promise.race([until(() => scissors.cut >= cuts), ...publishers])
      scissors.rest()
      isPublishing = false
      await Promise.all(publishers)
      await until(() => seen.every(({ topic, position }) => position() === oracles.get(topic)!.head))

      const gaps = seen.map(({ topic, events }) => oracles.get(topic)!.check(events)).reduce((sum, n) => sum + n)
      t.diagnostic(`${scissors.cut} cuts, ${gaps} gaps, ${published.size} messages published through cuts`)
      if (history > 1000) assert.equal(gaps, 0)
      for (const [data, position] of published) {
        assert.equal(oracles.get("left")!.count(data), 1, data)
        assert.equal(oracles.get("left")!.at(position), data)
      }
    })
