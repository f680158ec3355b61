// What following a guide needs of the machine: ports, servers that answer, a browser.

import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";

// freePort returns a port that no program listens on.
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// answers waits until a server answers at url.
export async function answers(url) {
  for (let tries = 0; ; tries++) {
    try {
      return await fetch(url);
    } catch (err) {
      if (tries === 600) throw new Error(`no server answers at ${url}`, { cause: err });
      await sleep(100);
    }
  }
}

// launchBrowser starts the browser that CHROMIUM names.
export function launchBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}
