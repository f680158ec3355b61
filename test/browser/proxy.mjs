// A TCP proxy that stays while what is behind it goes, and that cuts connections.

import { createServer, connect } from "node:net";
import { once } from "node:events";

export class Proxy {
  port; // of 127.0.0.1, where it listens
  target; // port behind it; undefined: connections end at once
  #left = Infinity; // bytes from the target until everything is cut
  #sockets = new Set();
  #server;

  // start returns a proxy for a port.
  static async start(target) {
    const p = new Proxy();
    p.target = target;
    p.#server = createServer((client) => p.#accept(client)).listen(0, "127.0.0.1");
    await once(p.#server, "listening");
    p.port = p.#server.address().port;
    return p;
  }

  #accept(client) {
    client.on("error", () => {});
    if (this.target === undefined) return client.destroy();
    const server = connect(this.target, "127.0.0.1");
    server.on("error", () => {});
    for (const [socket, other] of [[client, server], [server, client]]) {
      this.#sockets.add(socket);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (data) => server.write(data));
    server.on("data", (data) => {
      const cut = data.length >= this.#left;
      client.write(data.subarray(0, this.#left), () => cut && this.cut());
      this.#left = cut ? Infinity : this.#left - data.length;
    });
    server.on("end", () => client.end());
  }

  // cutAfter lets so many bytes of the target through, then cuts.
  cutAfter(bytes) {
    this.#left = bytes;
  }

  // cut ends all connections now.
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  close() {
    this.cut();
    this.#server.close();
  }
}
