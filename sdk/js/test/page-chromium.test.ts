// What the client does in Chromium: in pages and workers, under a Content-Security-Policy, and
// when the browser says that a page is offline, frozen or back.

import assert from "node:assert/strict"
import { connect as dial, createServer as listen, type AddressInfo, type Socket } from "node:net"
import { test, type TestContext } from "node:test"
import type { Page } from "playwright-core"

import { isMissing, openPage, startChromium, startSite } from "./chromium.js"
import { type Server, startServer, token } from "./server.js"

const bearer = token({ topics: ["news"] })

/** A module that subscribes, and keeps what it gets. */
const program = (url: string, options = {}) => `
  const client = connect(${JSON.stringify(url)}, ${JSON.stringify({ token: bearer, ...options })})
  self.states = []
  self.events = []
  client.on((state) => states.push(state))
  const subscription = client.subscribe("news")
  void (async () => {
    for await (const event of subscription) events.push(event.type === "message" ? event.data : event.type)
  })()
  self.client = client
`
const load = 'import { connect } from "/notiflux.min.js"\n'
const page = (script: string) => `<!doctype html><script type="module">${script}</script>`

const publish = async ({ url }: Server, message: unknown) => {
  const response = await fetch(url + "/broadcast", { method: "POST", headers: { Authorization: `Bearer ${bearer}`, "Content-Type": "application/json" }, body: JSON.stringify({ topic: "news", message }) })
  assert.equal(response.status, 200)
}

/** Waits for a condition in the page, whose Content-Security-Policy may forbid eval. */
const holds = async (page: Page, condition: string) => {
  while (!(await page.evaluate<boolean>(condition))) await new Promise((resolve) => setTimeout(resolve, 20))
}
/** Waits until the page got something. */
const got = (page: Page, event: unknown) => holds(page, `!!self.events?.includes(${JSON.stringify(event)})`)
const isIn = (page: Page, state: string) => holds(page, `client.state === "${state}"`)

/** A proxy that refuses WebSockets, and counts connections. */
const startWall = async (t: TestContext, target: string, isOpen: () => boolean) => {
  const wall = { url: "", sockets: 0 }
  const all = new Set<Socket>()
  const proxy = listen((client) => {
    const upstream = dial(Number(new URL(target).port), "127.0.0.1")
    client.once("data", (data) => {
      if (data.toString("latin1").startsWith("GET /ws")) {
        wall.sockets++
        if (!isOpen()) return client.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
      }
      upstream.write(data)
      client.pipe(upstream)
      return
    })
    upstream.pipe(client)
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      all.add(from)
      from.on("error", () => {}).on("close", () => to.destroy())
    }
  })
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve))
  t.after(() => {
    proxy.close()
    for (const socket of all) socket.destroy()
  })
  wall.url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  return wall
}

test("a page needs no more of a Content-Security-Policy than connect-src", { skip: isMissing }, async (t) => {
  const server = await startServer(t)
  const browser = await startChromium(t)
  const policy = (sources: string) => ({ "Content-Security-Policy": `default-src 'none'; script-src 'self'; connect-src ${sources}` })
  const files = { "/": '<!doctype html><script type="module" src="/program.js"></script>', "/program.js": load + program(server.url) }
  for (const transport of ["websocket", "stream", "poll"])
    await t.test(transport, async (t) => {
      const own = { ...files, "/program.js": load + program(server.url, { transports: [transport] }) }
      const source = transport === "websocket" ? server.url.replace("http", "ws") : server.url
      const tab = await openPage(browser, (await startSite(t, own, policy(source))) + "/")
      await got(tab, "subscribed")
      await publish(server, transport)
      await got(tab, transport)
      assert.deepEqual(tab.errors, [])
    })
  await t.test("a policy that forbids the server is no error of the page", async (t) => {
    const tab = await openPage(browser, (await startSite(t, files, policy("'none'"))) + "/")
    await holds(tab, "(self.states?.filter((state) => state === 'connecting').length ?? 0) > 3")
    assert.deepEqual(tab.errors, [])
  })
})

test("it works in a worker and in a service worker", { skip: isMissing }, async (t) => {
  const server = await startServer(t)
  const browser = await startChromium(t)
  const report = `
    self.onmessage = async ({ ports: [port] }) => {
      for (;;) {
        port.postMessage(events)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }`
  const follow = `
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = ({ data }) => (self.events = data)
    worker.postMessage("", [port2])`
  const site = await startSite(t, {
    "/worker.js": load + program(server.url) + report,
    "/worker": page('const worker = new Worker("/worker.js", { type: "module" })' + follow),
    "/service": page('await navigator.serviceWorker.register("/worker.js", { type: "module" }); const worker = (await navigator.serviceWorker.ready).active' + follow),
  })
  for (const kind of ["worker", "service"])
    await t.test(kind, async () => {
      const tab = await openPage(browser, `${site}/${kind}`)
      await got(tab, "subscribed")
      await publish(server, kind)
      await got(tab, kind)
      assert.deepEqual(tab.errors, [])
    })
})

test("offline it does not try, and online it is back at once, without a gap", { skip: isMissing }, async (t) => {
  const server = await startServer(t)
  const tab = await openPage(await startChromium(t), (await startSite(t, { "/": page(load + program(server.url)) })) + "/")
  await got(tab, "subscribed")
  await tab.context().setOffline(true)
  await server.stop("SIGKILL") // Chromium does not cut the WebSockets of a page that is offline.
  await isIn(tab, "offline")
  await server.start()
  await new Promise((resolve) => setTimeout(resolve, 1000))
  assert.equal(await tab.evaluate("client.state"), "offline")
  await tab.context().setOffline(false)
  await got(tab, "gap")
  await publish(server, "after")
  await got(tab, "after")
  assert.deepEqual(tab.errors, [])
})

test("a frozen page has no connection, and misses nothing when it is back", { skip: isMissing }, async (t) => {
  const server = await startServer(t)
  const tab = await openPage(await startChromium(t), (await startSite(t, { "/": page(load + program(server.url)) })) + "/")
  await got(tab, "subscribed")
  // Chromium freezes only hidden pages, and says so to the document.
  await tab.evaluate("document.dispatchEvent(new Event('freeze'))")
  assert.deepEqual(await tab.evaluate("[client.state, client.connection]"), ["waiting", undefined])
  await publish(server, "while frozen")
  await tab.evaluate("document.dispatchEvent(new Event('resume'))")
  await got(tab, "while frozen")
  assert.deepEqual(await tab.evaluate("events"), ["subscribed", "disconnected", "subscribed", "while frozen"])
  assert.deepEqual(tab.errors, [])
})

test("a page that comes back by the back button misses nothing", { skip: isMissing }, async (t) => {
  const server = await startServer(t)
  const site = await startSite(t, { "/": page(load + program(server.url)), "/next": "<!doctype html>" })
  const tab = await openPage(await startChromium(t, { ignoreDefaultArgs: ["--disable-back-forward-cache"] }), site + "/")
  await got(tab, "subscribed")
  await tab.goto(site + "/next")
  await publish(server, "while away")
  await tab.goBack({ waitUntil: "commit" })
  await got(tab, "while away")
  assert.deepEqual(await tab.evaluate("events"), ["subscribed", "disconnected", "subscribed", "while away"])
  assert.deepEqual(tab.errors, [])
})

test("where a proxy blocks WebSockets it streams, and tries them again after 5 minutes", { skip: isMissing, timeout: 60_000 }, async (t) => {
  const server = await startServer(t)
  let isOpen = false
  const wall = await startWall(t, server.url, () => isOpen)
  const site = await startSite(t, { "/": page(load + program(wall.url)), "/empty": "<!doctype html>" })
  const tab = await openPage(await startChromium(t), site + "/empty")
  await tab.clock.install()
  await tab.goto(site)
  while (!(await tab.evaluate<boolean>("self.events?.includes('subscribed') ?? false"))) await tab.clock.runFor(500)
  const blocked = wall.sockets // At least two: it tries again while it asks whether the server is up.
  isOpen = true
  // The page's clock is faster than the heartbeats of the server, so messages take their place.
  for (let passed = 0; passed < 285; passed += 15) {
    await publish(server, passed)
    await got(tab, passed)
    await tab.clock.runFor(15_000)
  }
  assert.equal(wall.sockets, blocked)
  await publish(server, "almost")
  await got(tab, "almost")
  await tab.clock.runFor(15_000)
  await holds(tab, "client.connection !== undefined")
  assert.equal(wall.sockets, blocked + 1)
  await publish(server, "after")
  await got(tab, "after")
  assert.deepEqual(await tab.evaluate("events.filter((event) => event === 'gap' || event === 'disconnected')"), [])
  assert.deepEqual(tab.errors, [])
})

test("with credentials the cookie is the token, and no WebSocket is used", { skip: isMissing }, async (t) => {
  const files: Record<string, string> = { "/empty": "<!doctype html>" }
  const site = await startSite(t, files)
  const server = await startServer(t, `--allowed-origins=${site}`)
  files["/"] = page(load + program(server.url, { token: "", credentials: "include" }))
  const tab = await openPage(await startChromium(t), site + "/empty")
  await tab.context().addCookies([{ name: "notiflux_token", value: bearer, url: server.url }])
  await tab.goto(site)
  await got(tab, "subscribed")
  await publish(server, "by cookie")
  await got(tab, "by cookie")
  assert.equal(await tab.evaluate("client.connection"), undefined)
  assert.deepEqual(tab.errors, [])
})
