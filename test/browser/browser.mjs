// Chromium's own EventSource and WebSocket against the real server, on a page of
// another origin:
//
//   NOTIFLUX=binary WORK=folder-with-keys CHROMIUM=browser node browser.mjs
//
// and what examples.mjs needs.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";
import { firstPage, presence, presenceOfMany } from "./examples.mjs";
import { Proxy } from "./proxy.mjs";
import { Server, token } from "./server.mjs";

const html = readFileSync(new URL("page.html", import.meta.url));
const site = createServer((_, answer) => answer.setHeader("Content-Type", "text/html; charset=utf-8").end(html));
await once(site.listen(0, "127.0.0.1"), "listening");
const origin = `http://127.0.0.1:${site.address().port}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// A Tab is a page that listens or has a socket open.
class Tab {
  #page;
  #read = 0;

  static async open() {
    const t = new Tab();
    t.#page = await browser.newPage();
    await t.#page.goto(origin);
    return t;
  }

  async listen(port) {
    this.#read = 0;
    await this.#page.evaluate((url) => listen(url), `http://127.0.0.1:${port}/events?topic=browser&token=${token}`);
  }

  async dial(port, ...protocols) {
    this.#read = 0;
    await this.#page.evaluate(([url, p]) => dial(url, p), [`ws://127.0.0.1:${port}/ws`, protocols]);
  }

  // say sends an object as JSON, a string as it is.
  say(what) {
    return this.#page.evaluate((text) => socket.send(text), typeof what === "string" ? what : JSON.stringify(what));
  }

  // next returns what came next.
  async next() {
    const i = this.#read++;
    await this.#page.waitForFunction((n) => inbox.length > n, i, { timeout: 30_000, polling: 10 });
    return this.#page.evaluate((n) => inbox[n], i);
  }

  // only returns the next of these types, over others that may come between.
  async only(...types) {
    for (;;) {
      const got = await this.next();
      if (types.includes(got.type)) return got;
      assert.equal(got.type, "reconnecting", JSON.stringify(got));
    }
  }

  async expect(want) {
    const got = await this.next();
    for (const [name, value] of Object.entries(want)) assert.deepEqual(got[name], value, JSON.stringify(got));
    return got;
  }

  close() {
    return this.#page.close();
  }
}

const epoch = (position) => position.split(":")[0];

// An event stream that is cut goes on by Last-Event-ID, without a gap and
// without a duplicate, at whatever byte. When the server is another, it says so.
async function eventSource() {
  let server = await Server.start();
  const proxy = await Proxy.start(server.port);
  const tab = await Tab.open();
  await tab.listen(proxy.port);
  const first = await tab.expect({ type: "hello" });
  assert.equal(first.topics.browser.recovered, true);

  let published = 0, received = 0;
  const publish = async (n) => {
    for (let i = 0; i < n; i++) await server.broadcast(`message ${published++}\ndata: of two lines`);
  };
  const receive = async () => {
    while (received < published) {
      const got = await tab.only("message");
      assert.equal(got.data, `message ${received++}\ndata: of two lines`);
      assert.equal(got.topic, "browser");
    }
  };
  await publish(3);
  await receive();
  for (let round = 0; round < 3; round++) {
    proxy.cutAfter(1 + Math.floor(Math.random() * 1500));
    await publish(20); // Some arrive, one is cut in the middle, the rest is published meanwhile.
    for (;;) {
      const got = await tab.only("message", "hello");
      if (got.type === "hello") {
        assert.equal(got.topics.browser.recovered, true);
        assert.equal(got.topics.browser.replay, published - received);
        break;
      }
      assert.equal(got.data, `message ${received++}\ndata: of two lines`);
    }
    await receive();
  }

  proxy.target = undefined;
  await server.stop();
  assert.equal((await tab.only("bye")).code, "draining");
  server = await Server.start();
  await publish(1); // Before it is back.
  received = published;
  proxy.target = server.port;
  const again = await tab.only("hello");
  assert.equal(again.topics.browser.recovered, false);
  assert.notEqual(epoch(again.topics.browser.position), epoch(first.topics.browser.position));
  await publish(3);
  await receive();
  await tab.close();
  proxy.close();
  await server.stop();
}

async function jsonProtocol() {
  const server = await Server.start();
  const tab = await Tab.open();
  await tab.dial(server.port, "notiflux.v1.json", `notiflux.token.${token}`);
  await tab.expect({ type: "open", protocol: "notiflux.v1.json" });
  const welcome = await tab.expect({ type: "welcome" });
  assert.match(welcome.connection, /^[0-9a-f]{16}$/);
  await tab.say({ type: "subscribe", id: 1, topics: ["browser", "other"] });
  const { topics, refused } = await tab.expect({ type: "subscribed", id: 1 });
  assert.deepEqual([topics.browser.recovered, topics.browser.replay], [true, 0]);
  assert.equal(refused.other.code, "topic_denied");

  const position = await server.broadcast({ from: "HTTP" });
  await tab.expect({ type: "message", topic: "browser", position, data: { from: "HTTP" } });
  await tab.say({ type: "broadcast", id: 2, topic: "browser", message: "from here" });
  const both = [await tab.next(), await tab.next()].sort((a, b) => (a.type < b.type ? -1 : 1));
  assert.deepEqual(both.map((m) => m.type), ["broadcasted", "message"]);
  assert.deepEqual([both[0].id, both[1].data, both[1].position], [2, "from here", both[0].position]);
  await tab.say({ type: "history", id: 3, topic: "browser", since: position, limit: 10 });
  const history = await tab.expect({ type: "history", id: 3, topic: "browser", recovered: true, more: false });
  assert.deepEqual(history.messages.map((m) => m.data), ["from here"]);
  await tab.say({ type: "unsubscribe", id: 4 });
  await tab.expect({ type: "unsubscribed", id: 4, topics: ["browser"] });
  await server.broadcast("nobody is there");
  await tab.say({ type: "ping", id: 5 });
  await tab.expect({ type: "pong", id: 5 });
  await server.stop();
  await tab.expect({ type: "bye", code: "draining" });
  await tab.expect({ type: "closed", code: 1012 });
  await tab.close();
}

async function textProtocol() {
  const server = await Server.start();
  const tab = await Tab.open();
  await tab.dial(server.port, "notiflux.v1.text", `notiflux.token.${token}`);
  await tab.expect({ type: "open", protocol: "notiflux.v1.text" });
  await tab.say(`/subscribe browser ${token}`);
  await tab.say("/");
  assert.equal(await tab.next(), "Unknown command");
  await server.broadcast("hello");
  assert.equal(await tab.next(), "hello");
  await server.stop();
  await tab.expect({ type: "closed", code: 1012 });
  await tab.close();
}

// A page is served if its origin is in the list.
async function origins() {
  for (const [flags, served] of [
    [[`--allowed-origins=${origin}`], true],
    [["--allowed-origins=https://app.example.com"], false],
  ]) {
    const server = await Server.start(...flags);
    const tab = await Tab.open();
    await tab.listen(server.port);
    await tab.expect({ type: served ? "hello" : "failed" });
    await tab.dial(server.port, "notiflux.v1.json");
    await tab.expect(served ? { type: "open" } : { type: "closed", code: 1006 });
    await tab.close();
    await server.stop();
  }
}

for (const test of [eventSource, jsonProtocol, textProtocol, origins, firstPage, presence, presenceOfMany]) {
  console.log(test.name);
  await test(browser);
}
await browser.close();
site.close();
