import { container } from "../test/dom.mjs"

import assert from "node:assert/strict"
import { type TestContext, test } from "node:test"

import { connect, type Event } from "notiflux"
import { useConnection, usePresence, useTopic } from "notiflux/vue"
import { createApp, createSSRApp, defineComponent, effectScope, nextTick, ref, unref } from "vue"
import { renderToString } from "vue/server-renderer"
import { fakeClient } from "./fake.js"
import { startServer, token } from "./server.js"

/** Adds the data of messages to a list, in which gaps show. */
const list = (before: unknown[], event: Event): unknown[] =>
  event.type === "message" ? [...before, event.data] : event.type === "gap" ? [...before, "gap " + event.reason] : before

/** Returns a component whose text is what `setup` returns. */
const component = (setup: () => readonly unknown[]) =>
  defineComponent({
    setup() {
      const parts = setup()
      return () => JSON.stringify(parts.map(unref))
    },
  })

const mount = (t: TestContext, setup: () => readonly unknown[]) => {
  const element = container()
  const app = createApp(component(setup))
  app.mount(element)
  let isMounted = true
  const unmount = () => {
    if (isMounted) app.unmount()
    isMounted = false
  }
  t.after(unmount)
  return { text: () => element.textContent, unmount }
}

test("a component subscribes when it is mounted, and unsubscribes when it is gone", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const { text, unmount } = mount(t, () => useTopic(client, "a", list, [], { last: 5 }))
  await nextTick()
  assert.equal(text(), "[[],null]")
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.deepEqual([command.topics, command.last], [["a"], 5])
  transport.last.confirm(command)
  transport.last.message("a", 1)
  transport.last.frame({ type: "gap", topic: "a", position: "E:9" })
  await wait(0)
  assert.equal(text(), '[[1,"gap server"],null]')
  unmount()
  await wait(100)
  assert.deepEqual((await transport.last.command("unsubscribe")).topics, ["a"])
})

test("the topic may be a ref or a getter, and none", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const id = ref<number | undefined>(1)
  const { text } = mount(t, () => useTopic(client, () => id.value && `chat/${id.value}`, list, ["none"]))
  await nextTick()
  transport.last.welcome()
  const first = await transport.last.command("subscribe")
  assert.deepEqual(first.topics, ["chat/1"])
  transport.last.confirm(first)
  transport.last.message("chat/1", 1)
  await wait(0)
  assert.equal(text(), '[["none",1],null]')
  id.value = 2
  await nextTick()
  assert.equal(text(), '[["none"],null]')
  const second = await transport.last.command("subscribe")
  assert.deepEqual(second.topics, ["chat/2"])
  transport.last.confirm(second)
  await wait(100)
  assert.deepEqual((await transport.last.command("unsubscribe")).topics, ["chat/1"])
  id.value = undefined
  await nextTick()
  await wait(100)
  assert.deepEqual((await transport.last.command("unsubscribe")).topics, ["chat/2"])
})

test("a scope outside of components subscribes at once, until it is stopped", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const scope = effectScope()
  const [state] = scope.run(() => useTopic(client, ref("a"), list, []))!
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.message("a", 1)
  await wait(0)
  assert.deepEqual(state.value, [1])
  scope.stop()
  await wait(100)
  await transport.last.command("unsubscribe")
})

test("who is present, the state of the connection and the error of a subscription are shown", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const { text } = mount(t, () => [...usePresence(client, "a"), useConnection(client)])
  assert.equal(text(), '[null,null,"idle"]')
  await nextTick()
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.equal(command.presence, true)
  transport.last.confirm(command)
  const { id } = await transport.last.command("presence")
  transport.last.frame({ type: "presence", id, topic: "a", count: 1, subscribers: 1, members: [{ sub: "ann" }] })
  await wait(0)
  assert.equal(text(), '[{"count":1,"members":[{"sub":"ann"}]},null,"connected"]')

  const { text: denied } = mount(t, () => {
    const [, error] = useTopic(client, "b", list, [])
    return [error]
  })
  await nextTick()
  const { id: refused } = await transport.last.command("subscribe")
  transport.last.frame({ type: "subscribed", id: refused, topics: {}, refused: { b: { code: "topic_denied" } } })
  await wait(0)
  assert.match(denied()!, /topic_denied/)
})

test("rendering on a server connects to nothing", async (t) => {
  const { client, transport, wait } = fakeClient(t)
  const page = component(() => [...useTopic(client, "a", list, ["initial"]), ...usePresence(client, "a"), useConnection(client)])
  const html = await renderToString(createSSRApp(page))
  await wait(1000)
  assert.equal(transport.opened.length, 0)
  assert.match(html, /initial.*idle/)
})

test("a page shows the messages of the real server", { timeout: 20_000 }, async (t) => {
  const server = await startServer(t)
  const client = connect<{ news: string }>(server.url, { token: token({ topics: ["news"] }) })
  t.after(() => client.close())
  const { text } = mount(t, () => [useTopic(client, "news", list, [])[0]])
  const until = async (expected: string) => {
    while (text() !== expected) await new Promise((resolve) => setImmediate(resolve))
  }
  await client.subscribe("news").ready
  await client.publish("news", "hello")
  await until('[["hello"]]')
})
