// The client with the real server, over each transport.

import assert from "node:assert/strict"
import { test } from "node:test"
import WebSocket from "ws"

import { connect, type Event, type Options } from "notiflux"
import { startServer, token } from "./server.js"

const transports = ["websocket", "stream", "poll"] as const

for (const transport of transports) {
  const options = (more: Options = {}): Options => ({ transports: [transport], WebSocket: WebSocket as never, token: token({ topics: ["news", "other"] }), ...more })

  test(`publish and subscribe over ${transport}`, async (t) => {
    const { url } = await startServer(t)
    const client = connect<{ news: { n: number } }>(url, options())
    t.after(() => client.close())
    const subscription = client.subscribe("news")
    await subscription.ready
    assert.equal(client.state, "connected")
    const first = await client.publish("news", { n: 1 })
    await client.publish("news", { n: 2 })
    const seen: Event[] = []
    for await (const event of subscription) {
      seen.push(event)
      if (event.type === "message" && event.data.n === 2) break
    }
    assert.deepEqual(
      seen.map((event) => (event.type === "message" ? event.data : event.type)),
      ["subscribed", { n: 1 }, { n: 2 }],
    )
    assert.equal(seen[1]?.type === "message" && seen[1].position, first)
    assert.equal(subscription.position, first, "the second message was not handled: the loop did not ask for another")
    const history = await client.history("news", { since: first })
    assert.deepEqual(history.messages.map((message) => message.data), [{ n: 2 }])
    assert.equal(await client.position("news"), history.position)
  })
}
