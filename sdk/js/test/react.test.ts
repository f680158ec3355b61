// The tests run with React 18 too: scripts/test.mjs.

import { container } from "../test/dom.mjs"

import assert from "node:assert/strict"
import { type TestContext, test } from "node:test"

import { connect, type Event, type Options } from "notiflux"
import { useConnection, usePresence, useTopic } from "notiflux/react"
import { act, createElement, type FunctionComponent, StrictMode } from "react"
import { createRoot, hydrateRoot } from "react-dom/client"
import { renderToString } from "react-dom/server"
import { fakeClient } from "./fake.js"
import { startServer, token } from "./server.js"

/** Adds the data of messages to a list, in which gaps show. */
const list = (before: unknown[], event: Event): unknown[] =>
  event.type === "message" ? [...before, event.data] : event.type === "gap" ? [...before, "gap " + event.reason] : before

/** Renders a component with props; what it returns is its text. */
const mount = async <P extends object>(t: TestContext, component: (props: P) => unknown, props: P) => {
  const element = container()
  const root = createRoot(element)
  let renders = 0
  const Shown: FunctionComponent<P> = (props) => {
    renders++
    return JSON.stringify(component(props))
  }
  const render = (props: P) => act(async () => root.render(createElement(StrictMode, null, createElement(Shown, props))))
  const unmount = () => act(async () => root.unmount())
  t.after(unmount)
  await render(props)
  return {
    render,
    unmount,
    text: () => element.textContent,
    /** Returns how often it has been rendered since the last call. */
    renders() {
      const n = renders
      renders = 0
      return n
    },
  }
}

const setUp = (t: TestContext, options?: Options) => {
  const { wait, ...fake } = fakeClient(t, options)
  return { ...fake, wait: (ms: number) => act(() => wait(ms)) }
}

test("a component that is mounted twice in StrictMode sends one command, and unsubscribes when it is gone", async (t) => {
  const { client, transport, wait } = setUp(t)
  const { text, unmount } = await mount(t, () => useTopic(client, "a", list, [], { last: 5 }), {})
  assert.equal(text(), "[[],null]")
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.deepEqual([command.topics, command.last], [["a"], 5])
  transport.last.confirm(command)
  transport.last.message("a", 1)
  transport.last.message("a", 2)
  await wait(1000)
  assert.equal(text(), "[[1,2],null]")
  await transport.last.noCommand()
  await unmount()
  await wait(99)
  await transport.last.noCommand()
  await wait(1)
  assert.deepEqual((await transport.last.command("unsubscribe")).topics, ["a"])
  assert.equal(transport.opened.length, 1)
})

test("messages that arrive together are rendered once", async (t) => {
  const { client, transport, wait } = setUp(t)
  const { text, renders } = await mount(t, () => useTopic(client, "a", (n: number, event) => n + +(event.type === "message"), 0)[0], {})
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  await wait(0)
  renders()
  for (let i = 1; i <= 500; i++) transport.last.message("a", i)
  await wait(0)
  assert.equal(text(), "500")
  assert.equal(renders(), 2, "StrictMode renders twice")
})

test("the reducer gets gaps and states, and the last reducer counts", async (t) => {
  const { client, transport, wait } = setUp(t)
  const Page = ({ mark }: { mark: string }) =>
    useTopic(
      client,
      "a",
      (all: string[], event) =>
        event.type === "state" ? [mark, ...event.state] : event.type === "message" ? [...all, mark + event.data] : event.type === "gap" ? [...all, mark + event.reason] : all,
      [],
      { getState: ({ topic }) => ["state of " + topic] },
    )[0]
  const { text, render } = await mount(t, Page, { mark: "1 " })
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"), "E:7")
  await wait(0)
  assert.equal(text(), '["1 ","state of a"]')
  await render({ mark: "2 " })
  transport.last.message("a", 8)
  transport.last.frame({ type: "gap", topic: "a", position: "E:20" })
  await wait(0)
  assert.equal(text(), '["2 ","state of a"]')
  await transport.last.noCommand()
})

test("another topic begins again with the initial state, and no topic ends the subscription", async (t) => {
  const { client, transport, wait } = setUp(t)
  const { text, render } = await mount(t, ({ topic }: { topic: string | null }) => useTopic(client, topic, list, ["none"])[0], { topic: "a" as string | null })
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.message("a", 1)
  await wait(0)
  assert.equal(text(), '["none",1]')
  await render({ topic: "b" })
  assert.equal(text(), '["none"]')
  transport.last.message("a", 2)
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.message("b", 1, "of b")
  await wait(0)
  assert.equal(text(), '["none","of b"]')
  await wait(100)
  assert.deepEqual((await transport.last.command("unsubscribe")).topics, ["a"])
  await render({ topic: null })
  assert.equal(text(), '["none"]')
  await wait(100)
  assert.deepEqual((await transport.last.command("unsubscribe")).topics, ["b"])
})

test("the error that ends a subscription is returned with the state", async (t) => {
  const { client, transport, wait } = setUp(t)
  const Page = () => {
    const [state, error] = useTopic(client, "a", list, [])
    return [state, error?.code]
  }
  const { text } = await mount(t, Page, {})
  transport.last.welcome()
  const { id } = await transport.last.command("subscribe")
  transport.last.frame({ type: "subscribed", id, topics: {}, refused: { a: { code: "topic_denied" } } })
  await wait(0)
  assert.equal(text(), '[[],"topic_denied"]')
})

test("a reducer that throws ends the subscription after five attempts", async (t) => {
  const { client, transport, wait } = setUp(t)
  const fail = (): number => {
    throw new Error("in the reducer")
  }
  const Page = () => {
    const [state, error] = useTopic(client, "a", fail, 1)
    return [state, error?.code, (error?.cause as Error)?.message]
  }
  const { text } = await mount(t, Page, {})
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  for (let i = 0; i < 5; i++) await wait(10_000)
  assert.equal(text(), '[1,"callback_failed","in the reducer"]')
})

test("who is present is shown, together with the messages of the topic", async (t) => {
  const { client, transport, wait } = setUp(t)
  const { text } = await mount(t, () => [useTopic(client, "a", list, [])[0], usePresence(client, "a")[0]], {})
  assert.equal(text(), "[[],null]")
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.deepEqual([command.mode, command.presence], ["all", true])
  transport.last.confirm(command)
  const { id } = await transport.last.command("presence")
  transport.last.frame({ type: "presence", id, topic: "a", count: 2, subscribers: 2, members: [{ sub: "ann" }, { sub: "bob" }] })
  transport.last.message("a", 1)
  await wait(0)
  assert.equal(text(), '[[1],{"count":2,"members":[{"sub":"ann"},{"sub":"bob"}]}]')
  transport.last.frame({ type: "join", topic: "a", member: { sub: "ann", info: { name: "Ann" } } })
  transport.last.frame({ type: "leave", topic: "a", members: [{ sub: "bob" }, { sub: "eve" }] })
  await wait(0)
  assert.equal(text(), '[[1],{"count":1,"members":[{"sub":"ann","info":{"name":"Ann"}}]}]')
  transport.last.frame({ type: "presence", topic: "a", count: 1234, subscribers: 2000 })
  transport.last.frame({ type: "join", topic: "a", member: { sub: "eve" } })
  await wait(0)
  assert.equal(text(), '[[1],{"count":1234}]')
})

test("the state of the connection is shown", async (t) => {
  const { client, transport, wait } = setUp(t)
  const { text } = await mount(t, () => useConnection(client), {})
  assert.equal(text(), '"idle"')
  client.subscribe("a")
  await wait(0)
  assert.equal(text(), '"connecting"')
  transport.last.welcome()
  await wait(0)
  assert.equal(text(), '"connected"')
})

test("rendering on a server connects to nothing, and the page takes over what it rendered", async (t) => {
  const { client, transport, wait } = setUp(t)
  const Page = () => JSON.stringify([useTopic(client, "a", list, ["initial"]), usePresence(client, "a"), useConnection(client)])
  const html = renderToString(createElement(Page))
  await wait(1000)
  assert.equal(transport.opened.length, 0)
  const element = container()
  element.innerHTML = html
  assert.equal(element.textContent, '[[["initial"],null],[null,null],"idle"]')
  client.subscribe("b") // The page may have connected before.
  const errors: unknown[] = []
  await act(async () => {
    const root = hydrateRoot(element, createElement(Page), { onRecoverableError: (error) => errors.push(error) })
    t.after(() => act(async () => root.unmount()))
  })
  transport.last.welcome()
  await wait(0)
  assert.deepEqual(errors, [])
  assert.equal(element.textContent, '[[["initial"],null],[null,null],"connected"]')
})

test("a page in StrictMode shows the messages of the real server", { timeout: 20_000 }, async (t) => {
  const server = await startServer(t)
  const client = connect<{ news: string }>(server.url, { token: token({ topics: ["news"] }) })
  t.after(() => client.close())
  const { text } = await mount(t, () => useTopic(client, "news", list, [])[0], {})
  const until = async (expected: string) => {
    while (text() !== expected) await act(() => new Promise((resolve) => setImmediate(resolve)))
  }
  await client.subscribe("news").ready
  await client.publish("news", "hello")
  await until('["hello"]')
  await server.stop()
  await server.start()
  await until('["hello","gap restarted"]')
  await client.publish("news", "again")
  await until('["hello","gap restarted","again"]')
})
