// Clients of event streams that are not ours, through cuts, alone and through nginx, and
// through a restart. With NOTIFLUX_BROKER, the server is on Redis, and not through nginx while
// it runs:
//
//   NOTIFLUX=binary WORK=folder-with-keys CHROMIUM=browser PYTHON=interpreter NGINX_PROGRAM=program SETTINGS=file node streams.mjs

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { Proxy } from "../browser/proxy.mjs";
import { Server, token } from "../browser/server.mjs";
import { all, Browser } from "./clients.mjs";

const { WORK, NGINX_PROGRAM, SETTINGS } = process.env;
const onRedis = Boolean(process.env.NOTIFLUX_BROKER); // It remembers what a server that ended had.

// free returns a port that nobody listens on.
async function free() {
  const s = createServer().listen(0, "127.0.0.1");
  await once(s, "listening");
  const { port } = s.address();
  s.close();
  await once(s, "close");
  return port;
}

const listens = (port) =>
  new Promise((resolve) => {
    const c = connect(port, "127.0.0.1", () => resolve(true) ?? c.destroy()).on("error", () => resolve(false));
  });

// nginx runs nginx before a server, with the settings that operators are told.
async function nginx(server) {
  const port = await free();
  const settings = readFileSync(SETTINGS, "utf8")
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${server}`)
    .replace("add_header Cache-Control", "add_header Access-Control-Allow-Origin *; add_header Cache-Control"); // The page is of another origin.
  const fill = { FOLDER: WORK, LISTEN: port, SETTINGS: settings };
  const config = readFileSync(new URL("nginx.conf", import.meta.url), "utf8").replace(/FOLDER|LISTEN|SETTINGS/g, (name) => fill[name]);
  writeFileSync(`${WORK}/nginx.conf`, config);
  const child = spawn(NGINX_PROGRAM, ["-c", `${WORK}/nginx.conf`], { stdio: ["ignore", "ignore", "pipe"] });
  child.stderr.pipe(createWriteStream(`${WORK}/nginx.log`));
  process.on("exit", () => child.kill());
  while (!(await listens(port))) {
    assert.equal(child.exitCode, null, `nginx does not start: ${WORK}/nginx.log`);
    await pause(50);
  }
  const stop = async () => {
    child.kill();
    await once(child, "exit");
  };
  return { port, stop };
}

// resume has a client read a stream through cuts: it gets every message, once and in
// order, also those that are published while it is away.
async function resume(open, server, behind, what) {
  const proxy = await Proxy.start(behind);
  const client = await open(`http://127.0.0.1:${proxy.port}/events?${what}&token=${token}`);
  let published = 0, received = 0;
  const publish = async (n) => {
    for (let i = 0; i < n; i++) await server.broadcast(`message ${published++}\n\u2028 of two lines`);
  };
  // receive reads what was published; between the messages the client may connect again, also
  // before all of them were published.
  const receive = async () => {
    while (received < published) {
      const got = await client.next();
      if (got.type === "hello") {
        const { recovered, replay } = got.topics.browser ?? got.patterns["brow*"];
        assert.ok(recovered && replay <= published - received, JSON.stringify(got));
      } else {
        assert.equal(got.topic, "browser");
        assert.equal(got.data, `message ${received++}\n\u2028 of two lines`);
      }
    }
  };
  assert.equal((await client.next()).type, "hello");
  await publish(2);
  await receive();
  const target = proxy.target;
  proxy.target = undefined; // It cannot come back yet.
  proxy.cut();
  await publish(3);
  proxy.target = target;
  await receive();
  for (let round = 0; round < 2; round++) {
    proxy.cutAfter(1 + Math.floor(Math.random() * 1000));
    await publish(10);
    await receive();
  }
  await client.close();
  proxy.close();
}

// restart has clients read through nginx while the server behind it is away for a
// while: none gives up. Each is told that it is another server, or resumes if that is on Redis.
async function restart(clients) {
  let server = await Server.start();
  const { port } = server;
  const proxied = await nginx(port);
  const url = `http://127.0.0.1:${proxied.port}/events?topic=browser&token=${token}`;
  const open = [];
  for (const [name, client] of Object.entries(clients)) {
    const c = { name, ...(await client(url)) };
    open.push(c);
    assert.equal((await c.next()).type, "hello", name);
  }
  await server.stop();
  for (const c of open) assert.equal((await c.next()).code, "draining", c.name);
  await pause(5000); // Each has tried, and found nobody.
  server = await Server.start(`--port=${port}`);
  for (const c of open) {
    const got = await c.next().catch((error) => error);
    assert.equal(got.topics?.browser.recovered, onRedis, `${c.name}: ${got.message ?? JSON.stringify(got)}`);
  }
  await server.broadcast("after the restart");
  for (const c of open) assert.equal((await c.next()).data, "after the restart", c.name);
  for (const c of open) await c.close();
  await proxied.stop();
  await server.stop();
}

const server = await Server.start();
const proxied = await nginx(server.port);
const browser = await Browser.start();
const clients = all(browser);
for (const [name, open] of Object.entries(clients)) {
  const ways = [
    ["alone", server.port, "topic=browser"],
    ["through nginx", proxied.port, "topic=browser"],
    ["a pattern", server.port, "pattern=browse*&pattern=brow*"],
  ];
  for (const [way, port, what] of ways.slice(0, onRedis ? 1 : 3)) {
    console.log(`${name}, ${way}`);
    await resume(open, server, port, what);
  }
}
await proxied.stop();
await server.stop();
console.log("all of them, while the server restarts behind nginx");
await restart(clients);
await browser.close();
process.exit(); // Libraries keep timers.
