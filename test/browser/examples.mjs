// The pages of examples/ in Chromium, as docs/guides shows them:
//
//   EXAMPLES=folder PYTHON=interpreter-with-the-packages-of-scripts

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Server, sign } from "./server.mjs";

const { EXAMPLES, PYTHON, WORK } = process.env;

// serve runs a Python program that prints where it listens, and returns its URL and
// how to end it.
async function serve(pattern, ...command) {
  const child = spawn(PYTHON, ["-u", ...command], { stdio: ["ignore", "pipe", "ignore"] });
  process.on("exit", () => child.kill());
  for await (const line of createInterface({ input: child.stdout })) {
    const found = pattern.exec(line);
    if (found) return { url: `http://127.0.0.1:${found[1]}`, stop: () => child.kill() };
  }
  throw new Error(`${command[0]} does not listen`);
}

// shows waits until the elements of a page that match have these texts, in any order.
const shows = (page, selector, ...texts) =>
  page.waitForFunction(
    ([s, want]) => JSON.stringify([...document.querySelectorAll(s)].map((e) => e.textContent).sort()) === want,
    [selector, JSON.stringify(texts.sort())],
    { timeout: 30_000, polling: 10 },
  ).catch(async (cause) => {
    const got = await page.locator(selector).allTextContents();
    throw new Error(`${selector}: ${JSON.stringify(got)}, want ${JSON.stringify(texts)}`, { cause });
  });

// The first page misses nothing between its making and its subscription, shows what
// comes without being loaded again, and is loaded again once when it missed something.
export async function firstPage(browser) {
  let server = await Server.start();
  const { port } = server;
  const app = await serve(/:(\d+)$/, `${EXAMPLES}/first-page/app.py`,
    "--key", `${WORK}/es256_private.pem`, "--url", `http://127.0.0.1:${port}`, "--port", "0");
  const add = async (text) => {
    const answer = await fetch(`${app.url}/notes`, { method: "POST", body: new URLSearchParams({ text }), redirect: "manual" });
    assert.equal(answer.status, 303);
  };

  const page = await browser.newPage();
  let loads = 0;
  page.on("load", () => loads++);
  let held, release;
  const asked = new Promise((resolve) => (held = resolve));
  const released = new Promise((resolve) => (release = resolve));
  await page.route("**/events?*", async (route) => {
    held();
    await released;
    await route.continue();
  });
  await page.goto(app.url);
  await asked;
  await add("in between");
  await shows(page, "#notes li");
  release();
  await shows(page, "#state", "live");
  await shows(page, "#notes li", "in between");

  await add("<i>x</i>");
  await shows(page, "#notes li", "in between", "<i>x</i>");
  assert.equal(await page.locator("#notes i").count(), 0);
  assert.equal(loads, 1);

  await server.stop();
  await shows(page, "#state", "reconnecting");
  server = await Server.start(`--port=${port}`);
  await shows(page, "#state", "live");
  await shows(page, "#notes li", "in between", "<i>x</i>");
  assert.equal(loads, 2);
  await add("after the restart");
  await shows(page, "#notes li", "in between", "<i>x</i>", "after the restart");
  assert.equal(loads, 2);
  await page.close();
  app.stop();
  await server.stop();
}

// pages serves the page of presence, and returns how to open it for a person.
async function pages(browser) {
  const files = await serve(/ port (\d+) /, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", `${EXAMPLES}/presence`);
  const open = async (server, token, prepare = () => {}) => {
    const page = await browser.newPage();
    await prepare(page);
    await page.goto(`${files.url}/page.html#${new URLSearchParams({ url: server, token })}`);
    return page;
  };
  return { open, stop: files.stop };
}

// Members see each other come and go; who reloads, or whose server is restarted, does
// not go.
export async function presence(browser) {
  let server = await Server.start();
  const { port } = server;
  const { open, stop } = await pages(browser);
  const member = (sub, name) =>
    open(`http://127.0.0.1:${port}`, sign("--topic", "room", "--scope", "subscribe", "--sub", sub, "--info", JSON.stringify({ name })));
  const ann = await member("1", "Ann");
  await shows(ann, "#members li", "Ann");
  const bob = await member("2", "<b>Bob</b>");
  const both = ["Ann", "<b>Bob</b>"];
  for (const page of [ann, bob]) await shows(page, "#members li", ...both);
  await shows(ann, "#count", "2");
  assert.equal(await ann.locator("#members b").count(), 0);

  await ann.evaluate(() => {
    window.gone = 0; // how often there were fewer
    new MutationObserver(() => (window.gone += Number(count < 2))).observe(document.getElementById("members"), { childList: true });
  });
  await bob.reload();
  await shows(bob, "#members li", ...both);
  const closed = Date.now();
  await bob.close();
  assert.equal(await ann.evaluate(() => window.gone), 0);
  await shows(ann, "#members li", "Ann");
  const seconds = (Date.now() - closed) / 1000;
  assert.ok(seconds > 9 && seconds < 15, `it left after ${seconds} s`);

  await server.stop();
  await shows(ann, "#state", "reconnecting");
  server = await Server.start(`--port=${port}`);
  await shows(ann, "#state", "live");
  await shows(ann, "#members li", "Ann");
  await ann.close();
  stop();
  await server.stop();
}

// What the server tells of many members, in an order that seldom happens.
export async function presenceOfMany(browser) {
  const { open, stop } = await pages(browser);
  let socket, held, connections = 0;
  const asked = () => new Promise((resolve) => (held = resolve));
  const first = asked();
  const page = await open("http://127.0.0.1:9", "token", (page) =>
    page.routeWebSocket(/\/ws$/, (s) => {
      socket = s;
      connections++;
      s.onMessage((text) => JSON.parse(text).type === "presence" && held());
    }));
  await first;
  const tell = (...frames) => frames.forEach((frame) => socket.send(JSON.stringify({ topic: "room", ...frame })));
  const named = (...subs) => subs.map((sub) => ({ sub }));
  const refuse = (code) => tell({ type: "subscribed", id: 1, topics: {}, refused: { room: { code, message: code } } });

  const again = asked();
  refuse("over_capacity"); // Which passes.
  await again;
  tell({ type: "subscribed", id: 1, topics: { room: {} } },
    { type: "join", members: named("a", "b") }, // Older than the answer,
    { type: "presence", id: 2, count: 2, subscribers: 9, members: named("a", "c") }); // which knows.
  await shows(page, "#members li", "a", "c");
  tell({ type: "join", members: named("c", "d", "e") }, { type: "leave", members: named("a", "nobody") }, { type: "join", member: { sub: "c" } });
  await shows(page, "#members li", "c", "d", "e");
  await shows(page, "#count", "3");

  tell({ type: "presence", count: 1001, subscribers: 1100 });
  await shows(page, "#count", "1001");
  await shows(page, "#members li");
  tell({ type: "presence", count: 2, subscribers: 2, members: named("c", "f") }, { type: "leave", member: { sub: "c" } });
  await shows(page, "#members li", "f");

  tell({ type: "unsubscribed", topics: ["room"], code: "token_expired" });
  await shows(page, "#state", "token_expired");
  assert.equal(connections, 2);

  const anew = asked();
  await page.reload();
  await anew;
  refuse("topic_denied");
  await shows(page, "#state", "topic_denied");
  const last = asked();
  await page.reload();
  await last;
  await socket.close({ code: 4003 });
  await shows(page, "#state", "closed: 4003");
  assert.equal(connections, 4);
  await page.close();
  stop();
}
