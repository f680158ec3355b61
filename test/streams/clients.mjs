// The clients of event streams that people use: in Node.js, in Chromium, in Python.
// Each is opened for an address and keeps what comes, in order.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { EventSource } from "eventsource";
import { chromium } from "playwright-core";

const patience = 30_000; // milliseconds

// An Inbox is what came to a client.
class Inbox {
  #came = [];
  #wake = () => {};

  push(object) {
    this.#came.push(object);
    this.#wake();
  }

  // next returns what came next.
  async next() {
    if (this.#came.length === 0) {
      let timer;
      await new Promise((resolve, reject) => {
        this.#wake = resolve;
        timer = setTimeout(() => reject(new Error("nothing came for 30 s")), patience);
      });
      clearTimeout(timer);
    }
    return this.#came.shift();
  }
}

const types = ["hello", "message", "bye"];

// npm eventsource, in Node.js.
async function eventsource(url) {
  const inbox = new Inbox();
  const source = new EventSource(url);
  for (const type of types) source.addEventListener(type, (e) => inbox.push(JSON.parse(e.data)));
  return { next: () => inbox.next(), close: () => source.close() };
}

// python returns a client that is a Python script with this library.
function python(library) {
  return async (url) => {
    const inbox = new Inbox();
    const script = spawn(process.env.PYTHON, [new URL("client.py", import.meta.url).pathname, library, url], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    process.on("exit", () => script.kill());
    createInterface({ input: script.stdout }).on("line", (line) => {
      const object = JSON.parse(line);
      if (types.includes(object.type)) inbox.push(object);
    });
    const close = async () => {
      script.kill();
      await once(script, "exit");
    };
    return { next: () => inbox.next(), close };
  };
}

// A Browser is Chromium with a page that has the libraries of browsers.
export class Browser {
  #browser;
  #site;

  static async start() {
    const b = new Browser();
    b.#site = createServer((request, answer) => {
      const file = Browser.#file(request.url);
      if (!file) return answer.writeHead(404).end();
      const type = file.endsWith(".html") ? "text/html; charset=utf-8" : "text/javascript";
      answer.setHeader("Content-Type", type).end(readFileSync(new URL(file, import.meta.url)));
    });
    await once(b.#site.listen(0, "127.0.0.1"), "listening");
    b.#browser = await chromium.launch({
      executablePath: process.env.CHROMIUM,
      args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    });
    return b;
  }

  // file returns the file of a path, undefined if there is none.
  static #file(path) {
    if (path === "/") return "page.html";
    if (path === "/event-source-polyfill.js") return "node_modules/event-source-polyfill/src/eventsource.js";
    const name = /^\/fetch-event-source\/(\w+)(\.js)?$/.exec(path)?.[1]; // Its imports have no suffix.
    return name && `node_modules/@microsoft/fetch-event-source/lib/esm/${name}.js`;
  }

  // client returns a client that is a page with this library.
  client(library) {
    return async (url) => {
      const page = await this.#browser.newPage();
      await page.goto(`http://127.0.0.1:${this.#site.address().port}/`);
      await page.waitForFunction(() => window.listen, undefined, { timeout: patience });
      await page.evaluate(([l, u]) => listen(l, u), [library, url]);
      let read = 0;
      const next = async () => {
        const i = read++;
        await page.waitForFunction((n) => inbox.length > n, i, { timeout: patience, polling: 10 });
        return page.evaluate((n) => inbox[n], i);
      };
      return { next, close: () => page.close() };
    };
  }

  async close() {
    await this.#browser.close();
    this.#site.close();
  }
}

// all returns every client, by the name of its library.
export const all = (browser) => ({
  "Chromium's EventSource": browser.client("EventSource"),
  "event-source-polyfill": browser.client("EventSourcePolyfill"),
  "@microsoft/fetch-event-source": browser.client("fetch-event-source"),
  eventsource,
  "requests with sseclient-py": python("sseclient"),
  requests: python("requests"),
  httpx: python("httpx"),
});
