// notiflux/server with the real server.

import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer as createSecureServer } from "node:https"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { type TestContext, test } from "node:test"

import { importKey, publish, sign } from "notiflux/server"

import { folder, history, openssl, publicKeyOf, startDev, startServer } from "./back-end.js"

const read = async (url: string, topic: string, privateKey: string): Promise<any> =>
  (await history(url, topic, await sign({ sub: "u", topic }, privateKey))).body

test("a message reaches its topic once", async (t) => {
  const { url, privateKey } = await startDev(t)
  const position = await publish(url, { topic: "news", message: { title: "hello" }, key: "k1" }, { privateKey })
  assert.equal(await publish(url + "/", { topic: "news", message: { title: "hello" }, key: "k1" }, { privateKey }), position)
  const token = await sign({ sub: "u", topic: "news", scope: "broadcast" }, privateKey)
  const next = await publish(new URL(url), { topic: "news", message: "é 😀 \u2028" }, { token })
  const { messages, position: head } = await read(url, "news", privateKey)
  assert.deepEqual(messages.map(({ data }: any) => data), [{ title: "hello" }, "é 😀 \u2028"])
  assert.deepEqual(messages.map((message: any) => message.position), [position, next])
  assert.equal(head, next)
  await assert.rejects(publish(url, { topic: "news", message: "other", key: "k1" }, { token }), { code: "key_reused", status: 409, topic: "news", retry: false })
  await assert.rejects(publish(url, { topic: "sport", message: 1 }, { token }), { code: "topic_denied", status: 403, topic: "sport" })
  await assert.rejects(publish(url + "/elsewhere", { topic: "news", message: 1 }, { token }), { code: "not_found", status: 404 })
  await assert.rejects(publish(url, { topic: "news" } as any, { token }), { code: "malformed", status: 400 })
  await assert.rejects(publish(url, { topic: "news", message: 1, key: "" }, { token }), { code: "malformed", status: 400 })
})

test("a batch has one outcome for each message", async (t) => {
  const { url, privateKey } = await startDev(t)
  const token = await sign({ sub: "u", topics: ["a", "b"], scope: "broadcast" }, privateKey)
  let deep: unknown = 1
  for (let i = 0; i < 70; i++) deep = [deep]
  const outcomes = await publish(
    url,
    [
      { topic: "a", message: 1 },
      { topic: "c", message: 2 },
      { topic: "a", message: "x".repeat(70_000) },
      { topic: "b", message: "half \ud83d" },
      { topic: "b", message: undefined },
      { topic: "b", message: deep },
      { topic: "b", message: 3 },
    ],
    { token },
  )
  assert.deepEqual(outcomes.map(({ topic, error }) => `${topic} ${error?.code}`), [
    "a undefined", "c topic_denied", "a too_large", "b malformed", "b malformed", "b malformed", "b undefined",
  ]) // prettier-ignore
  assert.equal((await read(url, "a", privateKey)).position, outcomes[0]!.position)
  assert.equal((await read(url, "b", privateKey)).position, outcomes[6]!.position)
})

test("large batches to many topics, signed on the way", async (t) => {
  const { url, privateKey } = await startDev(t)
  const topics = Array.from({ length: 500 }, (_, i) => `user/${i}/` + "é".repeat(i % 100))
  const outcomes = await publish(url, [0, 1, 2].flatMap((message) => topics.map((topic) => ({ topic, message }))), { privateKey: await importKey(privateKey) })
  assert.equal(outcomes.length, 1500)
  assert.deepEqual(outcomes.filter(({ error }) => error), [])
  for (const topic of [topics[0]!, topics[499]!]) assert.deepEqual((await read(url, topic, privateKey)).messages.map(({ data }: any) => data), [0, 1, 2])
})

test("every kind of key publishes", async (t) => {
  const keys = [openssl("genpkey -algorithm ed25519"), openssl("genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:2048"), openssl("ecparam -name prime256v1 -genkey")]
  const url = await startServer(t, keys.map(publicKeyOf).join(""))
  for (const privateKey of keys) assert.ok(await publish(url, { topic: "a", message: 1 }, { privateKey }))
})

/** Starts a proxy that cuts the first connections after so many bytes of the answer. */
const startProxy = async (t: TestContext, target: string, cuts: number[]): Promise<string> => {
  const { port, hostname } = new URL(target)
  const sockets = new Set<Socket>()
  const proxy = createServer((client) => {
    const cut = cuts.shift()
    const server = connect(Number(port), hostname)
    for (const socket of [client, server]) sockets.add(socket.on("error", () => {}))
    client.pipe(server)
    if (cut === undefined) return server.pipe(client)
    let left = cut
    server.on("data", (data) => {
      client.write(data.subarray(0, left))
      left -= data.length
      if (left > 0) return
      client.resetAndDestroy()
      server.destroy()
    })
    return
  }).listen(0, "127.0.0.1")
  await once(proxy, "listening")
  t.after(() => {
    proxy.close()
    for (const socket of sockets) socket.destroy()
  })
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
}

test("messages whose answers are cut off are published once", async (t) => {
  t.mock.method(Math, "random", () => 0.02) // Waits are short.
  const { url, privateKey } = await startDev(t)
  for (const cut of [0, 1, 17, 100, 200]) {
    const proxy = await startProxy(t, url, [cut, cut])
    const topic = `cut ${cut}`
    const position = await publish(proxy, { topic, message: 1 }, { privateKey })
    const batch = await publish(await startProxy(t, url, [cut]), [2, 3].map((message) => ({ topic, message })), { privateKey })
    const { messages } = await read(url, topic, privateKey)
    assert.deepEqual(messages.map((message: any) => [message.data, message.position]), [[1, position], [2, batch[0]!.position], [3, batch[1]!.position]]) // prettier-ignore
  }
})

test("a server that does not run yet gets the message when it does", async (t) => {
  const random = t.mock.method(Math, "random", () => 0.1)
  const { url, privateKey } = await startDev(t)
  const unused = createServer().listen(0, "127.0.0.1")
  await once(unused, "listening")
  const nobody = `http://127.0.0.1:${(unused.address() as AddressInfo).port}`
  unused.close()
  let attempts = 0
  const later: typeof fetch = (input, init) => fetch(attempts++ ? input : nobody, init)
  assert.ok(await publish(url, { topic: "a", message: 1 }, { privateKey, fetch: later }))
  assert.equal(attempts, 2)
  // Nothing was sent, so the outcome is known. The next attempt would come too late.
  random.mock.mockImplementation(() => 1000)
  await assert.rejects(publish(nobody, { topic: "a", message: 1 }, { privateKey }), { code: "timeout", retry: true })
})

test("a certificate that is not accepted ends the call at once", async (t) => {
  const dir = folder(t)
  const [key, cert] = ["key.pem", "cert.pem"].map((name) => join(dir, name)) as [string, string]
  openssl(`req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2 -keyout ${key} -out ${cert}`)
  const server = createSecureServer({ key: readFileSync(key), cert: readFileSync(cert) }, () => assert.fail("a request")).listen(0, "127.0.0.1")
  t.after(() => server.close())
  await once(server, "listening")
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  await assert.rejects(publish(url, { topic: "a", message: 1 }, { token: "a.b.c" }), { code: "insecure", retry: false })
})

test("the program in the README works, and ends", async (t) => {
  const { url, privateKey } = await startDev(t)
  const dir = folder(t)
  const root = new URL("..", import.meta.url).pathname
  const [, program] = /```js\n(import .*?)```/s.exec(readFileSync(join(root, "README.md"), "utf8").split("`notiflux/server`\n")[1]!)!
  mkdirSync(join(dir, "node_modules"))
  symlinkSync(root, join(dir, "node_modules/notiflux"))
  writeFileSync(join(dir, "es256_private.pem"), privateKey)
  writeFileSync(join(dir, "program.mjs"), program!.replace("http://127.0.0.1:8080", url))
  const child = spawn(process.execPath, ["program.mjs"], { cwd: dir, stdio: ["ignore", "pipe", "inherit"] })
  const watchdog = setTimeout(() => child.kill(), 60_000)
  t.after(() => clearTimeout(watchdog))
  const ended = once(child, "exit")
  assert.match(await text(child.stdout), /position: '.*:\d+'/)
  assert.deepEqual(await ended, [0, null])
  assert.deepEqual((await read(url, "news", privateKey)).messages[0].data, { title: "hello" })
})
