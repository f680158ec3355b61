// A notiflux server for the tests of the browser, and publishing to it.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";

const { NOTIFLUX, WORK } = process.env; // the binary; a folder with keys, for logs

// sign returns a token, made by the command with these flags.
export const sign = (...flags) =>
  execFileSync(NOTIFLUX, ["token", "--key", `${WORK}/es256_private.pem`, ...flags]).toString().trim();

export const token = sign("--topic", "browser", "--pattern", "brow*", "--scope", "subscribe", "--scope", "broadcast");

export class Server {
  port;
  #process;
  static #log = createWriteStream(`${WORK}/server.log`);

  // start runs a server until stop, on a free port unless the flags name one.
  static async start(...flags) {
    const s = new Server();
    s.#process = spawn(
      NOTIFLUX,
      ["serve", "--port=0", "--admin-addr=", `--jwt-public-key-file=${WORK}/es256_public.pem`, ...flags],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    process.on("exit", () => s.#process.kill());
    const lines = createInterface({ input: s.#process.stderr });
    s.port = await new Promise((resolve, reject) => {
      lines.on("line", (line) => {
        Server.#log.write(`${line}\n`);
        const url = /msg=listening .*\burl=\S+:(\d+)/.exec(line);
        if (url) resolve(Number(url[1]));
      });
      lines.on("close", () => reject(new Error("the server does not listen")));
    });
    return s;
  }

  async stop() {
    const ended = once(this.#process, "exit");
    this.#process.kill();
    assert.deepEqual(await ended, [0, null]);
  }

  // broadcast publishes and returns the position.
  async broadcast(message) {
    const answer = await fetch(`http://127.0.0.1:${this.port}/broadcast`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify({ topic: "browser", message }),
    });
    assert.equal(answer.status, 200);
    return (await answer.json()).position;
  }
}
