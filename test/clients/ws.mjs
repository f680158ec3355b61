// The npm client `ws` against a running server, with and without compression:
//
//   node ws.mjs echo URL      the echo program
//   node ws.mjs server URL    notiflux; TOKEN is for the topic "clients", both scopes
//
// COMPRESSION=1 says that the server agrees on compression.

import assert from "node:assert/strict";
import { once } from "node:events";
import WebSocket from "ws";

const [mode, url] = process.argv.slice(2);
const served = process.env.COMPRESSION === "1";
const most = 16 * 1024 * 1024;
const long = "0123456789 κόσμε ".repeat(2000);

// open connects; messages are collected, so that none is missed.
async function open(compress, ...protocols) {
  const socket = new WebSocket(url.replace("http", "ws"), protocols, {
    perMessageDeflate: compress && { threshold: 1 },
    maxPayload: 0,
  });
  const inbox = [];
  let wake = () => {};
  socket.on("message", (data, binary) => {
    inbox.push(binary ? data : data.toString());
    wake();
  });
  await once(socket, "open");
  assert.equal(socket.extensions.includes("permessage-deflate"), compress && served);
  socket.next = async () => {
    while (inbox.length === 0) await new Promise((resolve) => (wake = resolve));
    return inbox.shift();
  };
  socket.quiet = () => assert.deepEqual(inbox, []);
  return socket;
}

// ended waits for the close and returns its code.
async function ended(socket) {
  socket.on("error", () => {}); // a write that was under way
  const [code] = await once(socket, "close");
  return code;
}

async function echoMessages(compress) {
  const socket = await open(compress);
  for (const size of [0, 1, 125, 126, 65535, 65536, most]) {
    const data = Buffer.alloc(size, "notiflux");
    socket.send(data);
    const got = await socket.next();
    assert(Buffer.isBuffer(got) && got.equals(data), `binary of ${size} bytes`);
  }
  for (const text of ["", "hello", "\u0000", long]) {
    socket.send(text);
    assert.equal(await socket.next(), text);
  }
  for (let i = 0; i < 1000; i++) socket.send(`message ${i}`);
  for (let i = 0; i < 1000; i++) assert.equal(await socket.next(), `message ${i}`);
  socket.close();
  assert.equal(await ended(socket), 1005);
}

// A message in pieces that cut characters, with pings between them.
async function echoFragments(compress) {
  const socket = await open(compress);
  const bytes = Buffer.from(long);
  const pongs = [];
  socket.on("pong", (data) => pongs.push(data.toString()));
  for (let i = 0; i < bytes.length; i += 997) {
    const fin = i + 997 >= bytes.length;
    socket.send(bytes.subarray(i, i + 997), { binary: false, fin });
    if (i === 997 * 5) socket.ping("inside");
  }
  assert.equal(await socket.next(), long);
  socket.send(Buffer.from([0xff]), { fin: false });
  socket.send(Buffer.from([0xfe]), { fin: true });
  assert.deepEqual(await socket.next(), Buffer.from([0xff, 0xfe]));
  assert.deepEqual(pongs, ["inside"]);
  socket.terminate();
}

async function echoEnds(compress) {
  for (const code of [1000, 1001, 3000, 4999]) {
    const socket = await open(compress);
    socket.close(code, "reason");
    assert.equal(await ended(socket), code);
  }
  const refusals = [
    [1007, Buffer.from([0x61, 0xff])],
    [1007, Buffer.from([0xe2, 0x82])],
    [1009, Buffer.alloc(most + 1)],
  ];
  for (const [code, data] of refusals) {
    const socket = await open(compress);
    socket.send(data, { binary: code === 1009 });
    assert.equal(await ended(socket), code, `a message of ${data.length} bytes`);
  }
}

async function broadcast(message) {
  const answer = await fetch(`${new URL("/broadcast", url)}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${process.env.TOKEN}`, "Content-Type": "application/json" },
    body: JSON.stringify({ topic: "clients", message }),
  });
  assert.equal(answer.status, 200);
  return (await answer.json()).position;
}

async function textProtocol(compress) {
  const socket = await open(compress);
  const command = `/subscribe clients ${process.env.TOKEN}`;
  socket.send(command.slice(0, 20), { fin: false });
  socket.ping("inside");
  socket.send(command.slice(20), { fin: true });
  socket.send(Buffer.from([0, 1, 2]));
  socket.send("chatter");
  socket.send("/");
  assert.equal(await socket.next(), "Unknown command");
  for (const message of ["short", long, "", "κόσμε"]) {
    await broadcast(message);
    assert.equal(await socket.next(), message);
  }
  await broadcast({ z: [1, 2.5], a: long });
  assert.deepEqual(JSON.parse(await socket.next()), { z: [1, 2.5], a: long });
  socket.send("/unsubscribe clients");
  socket.send("/");
  assert.equal(await socket.next(), "Unknown command");
  await broadcast("nobody is there");
  socket.ping();
  await once(socket, "pong");
  socket.quiet();
  socket.close(1000);
  assert.equal(await ended(socket), 1000);
}

async function jsonProtocol(compress) {
  let socket;
  const say = (command) => socket.send(JSON.stringify(command));
  const expect = async (want) => {
    const got = JSON.parse(await socket.next());
    for (const [name, value] of Object.entries(want)) assert.deepEqual(got[name], value, JSON.stringify(got));
    return got;
  };
  const subscribe = async (since) => {
    socket = await open(compress, "notiflux.v1.json");
    assert.equal(socket.protocol, "notiflux.v1.json");
    await expect({ type: "welcome" });
    say({ type: "subscribe", id: 1, topics: ["clients"], token: process.env.TOKEN, since });
    return (await expect({ type: "subscribed", id: 1 })).topics.clients;
  };
  let { position, recovered, replay } = await subscribe();
  assert.deepEqual([recovered, replay], [true, 0]);
  for (const data of ["short", long, "", null, { z: [1, 2.5], a: long }]) {
    position = await broadcast(data);
    await expect({ type: "message", topic: "clients", position, data });
  }
  socket.terminate();
  const missed = [await broadcast("one"), await broadcast("two")];
  assert.deepEqual(await subscribe({ clients: position }), { position, recovered: true, replay: 2 });
  await expect({ type: "message", position: missed[0], data: "one" });
  await expect({ type: "message", position: missed[1], data: "two" });
  say({ type: "unsubscribe", id: 2, topics: ["clients"] });
  await expect({ type: "unsubscribed", id: 2, topics: ["clients"] });
  await broadcast("nobody is there");
  say({ type: "ping", id: 3 });
  await expect({ type: "pong", id: 3 });
  say({ type: "dance", id: 4 });
  await expect({ type: "error", id: 4, code: "unknown_type" });
  socket.send(Buffer.from([0, 1, 2]));
  assert.equal(await ended(socket), 1003);
}

const tests = { echo: [echoMessages, echoFragments, echoEnds], server: [textProtocol, jsonProtocol] }[mode];
for (const test of tests) {
  for (const compress of [false, true]) await test(compress);
}
