// What tests under load share.

import assert from "node:assert/strict"
import WebSocket from "ws"

import { Oracle } from "./oracle.js"

/** until waits for a condition, which is checked often. */
export const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** Sees the messages of the topics over a connection that is not cut, without the client. */
export const watch = async (url: string, topics: string[], bearer: string): Promise<Map<string, Oracle>> => {
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

/** Publishes to the topics, about 150 times per second, as long as a condition holds. */
export const publishSteadily = async (url: string, topics: string[], bearer: string, condition: () => boolean): Promise<void> => {
  for (let n = 0; condition(); n++) {
    const messages = topics.map((topic) => ({ topic, message: { n, text: "x".repeat(n % 200) } }))
    const response = await fetch(url + "/broadcast", { method: "POST", headers: { Authorization: `Bearer ${bearer}`, "Content-Type": "application/json" }, body: JSON.stringify(messages) })
    assert.equal(response.status, 200)
    await response.text()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
