import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"

import type { Need } from "notiflux"
import { brief, collect, fakeClient, settle } from "./fake.js"

/** Returns a client whose tokens a test hands out. */
const withTokens = (t: TestContext, tokens: (string | null | Error)[]) => {
  const needs: Omit<Need, "signal">[] = []
  const fake = fakeClient(t, {
    async token({ signal, ...need }) {
      assert.ok(signal instanceof AbortSignal)
      needs.push(need)
      const token = tokens.shift()
      if (token instanceof Error) throw token
      return token ?? null
    },
  })
  return { ...fake, needs }
}

const refuse = (connection: any, { id, topics }: any, code: string) =>
  connection.frame({
    type: "subscribed", id, topics: {},
    refused: Object.fromEntries(topics.map((topic: string) => [topic, { code, message: "…" }])),
  }) // prettier-ignore

test("one token is asked for all topics of a moment, and kept", async (t) => {
  const { client, transport, needs, wait } = withTokens(t, ["t1", "t2"])
  client.subscribe("a")
  client.subscribe("b")
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.deepEqual([command.token, command.topics], ["t1", ["a", "b"]])
  transport.last.confirm(command)
  client.subscribe("c")
  assert.equal((await transport.last.command("subscribe")).token, "t2")
  transport.last.end()
  await wait(250)
  transport.last.welcome()
  await settle()
  assert.equal(transport.last.commands.length, 2)
  assert.deepEqual(needs, [
    { scope: "subscribe", topics: ["a", "b"] },
    { scope: "subscribe", topics: ["c"] },
  ])
})

test("publishing asks for another scope", async (t) => {
  const { client, transport, needs } = withTokens(t, ["t1"])
  void client.publish("a", 1).catch(() => {})
  void client.publish("a", 2).catch(() => {})
  transport.last.welcome()
  await settle()
  assert.deepEqual(transport.last.commands.map((command) => command.token), ["t1", "t1"])
  assert.deepEqual(needs, [{ scope: "broadcast", topics: ["a"] }])
})

test("the token is asked for while the connection opens", async (t) => {
  const { client, needs } = withTokens(t, ["t1"])
  client.subscribe("a")
  await settle()
  assert.equal(needs.length, 1)
})

for (const code of ["token_expired", "token_invalid", "token_missing", "token_revoked"])
  test(`after ${code} another token is asked for, once`, async (t) => {
    const { client, transport, needs } = withTokens(t, ["t1", "t2"])
    const subscription = client.subscribe("a")
    transport.last.welcome()
    refuse(transport.last, await transport.last.command("subscribe"), code)
    const again = await transport.last.command("subscribe")
    assert.equal(again.token, "t2")
    assert.deepEqual(needs[1], { scope: "subscribe", topics: ["a"], code })
    refuse(transport.last, again, code)
    await assert.rejects(subscription.ready, { code })
    assert.equal(needs.length, 2)
  })

test("the same token, or none, ends the subscription", async (t) => {
  for (const [tokens, code] of [[["t1", "t1"], "token_expired"], [["t1", null], "token_expired"], [[null], "logged_out"]] as const)
    await t.test(JSON.stringify(tokens), async (t) => {
      const { client, transport } = withTokens(t, [...tokens])
      const subscription = client.subscribe("a")
      transport.last.welcome()
      await settle()
      if (tokens[0]) refuse(transport.last, await transport.last.command("subscribe"), "token_expired")
      await assert.rejects(subscription.ready, { code, topic: "a" })
    })
})

test("after a log-out the next subscription asks again", async (t) => {
  const { client, transport } = withTokens(t, [null, "t2"])
  const subscription = client.subscribe("a")
  transport.last.welcome()
  await assert.rejects(subscription.ready, { code: "logged_out" })
  client.subscribe("a")
  assert.equal((await transport.last.command("subscribe")).token, "t2")
})

test("a source that fails is asked again, after a longer wait each time", async (t) => {
  const { client, transport, needs, wait } = withTokens(t, [new Error("1"), new Error("2"), new Error("3"), "t1"])
  client.subscribe("a")
  transport.last.welcome()
  await settle()
  for (const pause of [250, 500, 1000]) {
    const { length } = needs
    await wait(pause - 1)
    assert.equal(needs.length, length)
    await wait(1)
    assert.equal(needs.length, length + 1)
  }
  assert.equal((await transport.last.command("subscribe")).token, "t1")
})

test("a call whose token is refused gets another one, too", async (t) => {
  const { client, transport, needs } = withTokens(t, ["t1", "t2"])
  const published = client.publish("a", 1)
  transport.last.welcome()
  const { id } = await transport.last.command("broadcast")
  transport.last.frame({ type: "error", id, code: "token_expired", message: "…", retry: false })
  const again = await transport.last.command("broadcast")
  assert.equal(again.token, "t2")
  transport.last.frame({ type: "broadcasted", id: again.id, topic: "a", position: "E:1" })
  assert.equal(await published, "E:1")
  assert.deepEqual(needs[1], { scope: "broadcast", topics: ["a"], code: "token_expired" })
})

test("when the until of a token has come, the topic resumes with another one", async (t) => {
  const { client, transport, needs } = withTokens(t, ["t1", "t2"])
  const events = collect(client.subscribe("a"))
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.message("a", 1)
  transport.last.frame({ type: "unsubscribed", topics: ["a"], code: "token_expired" })
  await settle()
  const again = transport.last.commands.at(-1) as any
  assert.deepEqual([again.token, again.since], ["t2", { a: "E:1" }])
  assert.equal(needs[1]?.code, "token_expired")
  transport.last.confirm(again, "E:1")
  transport.last.message("a", 2)
  assert.deepEqual(brief(await events.take()), ["subscribed", 1, "subscribed", 2])
})

test("after 4003 another token is asked for with the code, for all topics together", async (t) => {
  const { client, transport, needs, wait } = withTokens(t, ["t1", "t2"])
  client.subscribe("a")
  client.subscribe("b")
  transport.last.welcome()
  transport.last.confirm(await transport.last.command("subscribe"))
  transport.last.end({ code: 4003 })
  await wait(250)
  transport.last.welcome()
  assert.equal((await transport.last.command("subscribe")).token, "t2")
  assert.deepEqual(needs[1], { scope: "subscribe", topics: ["a", "b"], code: "token_revoked" })
})

test("after 4003 the same token, or no source, ends the subscription", async (t) => {
  for (const token of [async () => "t1", undefined])
    await t.test(String(token), async (t) => {
      const { client, transport, wait } = fakeClient(t, token ? { token } : {})
      const events = collect(client.subscribe("a"))
      transport.last.welcome()
      transport.last.confirm(await transport.last.command("subscribe"))
      await events.take()
      transport.last.end({ code: 4003 })
      await assert.rejects(async () => {
        await events.take()
        await events.iterator.next()
      }, { code: "token_revoked" })
      await wait(100_000)
      assert.ok(transport.opened.length <= 2)
    })
})

test("a JWT is used as it is", async (t) => {
  const { client, transport } = fakeClient(t, { token: "eyJ.x.y" })
  const subscription = client.subscribe("a")
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.equal(command.token, "eyJ.x.y")
  refuse(transport.last, command, "token_expired")
  await assert.rejects(subscription.ready, { code: "token_expired" })
})

test("a URL is asked for tokens", async (t) => {
  const requests: unknown[] = []
  const answers = [new Response("t1\n"), new Response("no", { status: 500 }), new Response("t2"), new Response("", { status: 401 })]
  const { client, transport, wait } = fakeClient(t, {
    token: "/token",
    fetch: async (url, init) => {
      requests.push([url, init!.method, JSON.parse(init!.body as string)])
      return answers.shift()!
    },
  })
  client.subscribe("a")
  transport.last.welcome()
  const command = await transport.last.command("subscribe")
  assert.equal(command.token, "t1")
  refuse(transport.last, command, "token_expired")
  await wait(250)
  const again = await transport.last.command("subscribe")
  assert.equal(again.token, "t2")
  assert.deepEqual(requests, [
    ["/token", "POST", { scope: "subscribe", topics: ["a"] }],
    ["/token", "POST", { scope: "subscribe", topics: ["a"], code: "token_expired" }],
    ["/token", "POST", { scope: "subscribe", topics: ["a"], code: "token_expired" }],
  ])
  await assert.rejects(client.publish("a", 1), { code: "logged_out" })
})

test("a source that fails is not asked after the client is closed, or when nobody needs the token", async (t) => {
  for (const what of ["client", "subscription"] as const)
    await t.test(what, async (t) => {
      const { client, transport, needs, wait } = withTokens(t, [new Error("1"), "t1"])
      const subscription = client.subscribe("a")
      transport.last.welcome()
      await settle()
      await (what === "client" ? client : subscription).close()
      for (const pause of [100, 30_000, 30_000]) await wait(pause)
      assert.equal(needs.length, 1)
      if (what === "client") return
      client.subscribe("a")
      await settle()
      assert.equal(needs.length, 2, "a new subscription asks again")
    })
})

test("a source that does not answer for 30 s is asked again", async (t) => {
  const signals: AbortSignal[] = []
  t.mock.method(AbortSignal, "timeout", (ms: number) => {
    const abort = new AbortController()
    setTimeout(() => abort.abort(), ms)
    return abort.signal
  })
  const { client, transport, wait } = fakeClient(t, {
    token: ({ signal }) => (signals.push(signal) > 1 ? "t1" : new Promise<string>(() => {})),
  })
  client.subscribe("a")
  transport.last.welcome()
  await wait(30_000)
  await wait(250)
  assert.deepEqual(signals.map((signal) => signal.aborted), [true, false])
  assert.equal((await transport.last.command("subscribe")).token, "t1")
})

test("a token that expires while the server cannot serve the topic is replaced again", async (t) => {
  const { client, transport, wait } = withTokens(t, ["t1", "t2", "t3"])
  const subscription = client.subscribe("a")
  transport.last.welcome()
  for (const code of ["token_expired", "unavailable", "token_expired"]) {
    refuse(transport.last, await transport.last.command("subscribe"), code)
    await wait(250)
  }
  const again = await transport.last.command("subscribe")
  assert.equal(again.token, "t3")
  transport.last.confirm(again)
  await subscription.ready
})
