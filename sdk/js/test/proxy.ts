// A proxy that cuts connections.

import { connect, createServer, type Socket } from "node:net"
import type { AddressInfo } from "node:net"
import type { TestContext } from "node:test"

/** Returns random numbers from 0 to 1 that depend only on the seed. */
export const randomFrom = (seed: number) => () => {
  // mulberry32
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

export interface Scissors {
  url: string
  /** How many connections were cut. */
  readonly cut: number
  /** Cuts no more. */
  rest(): void
}

/** Starts a proxy that cuts each connection after a random number of bytes from the server, of up to `most`. */
export const startScissors = async (t: TestContext, target: string, random: () => number, most = 3000): Promise<Scissors> => {
  const sockets = new Set<Socket>()
  let cut = 0
  let isResting = false
  const server = createServer((client) => {
    const upstream = connect(Number(new URL(target).port), "127.0.0.1")
    let left = isResting ? Infinity : Math.floor(random() * most)
    const end = () => {
      for (const socket of [client, upstream]) socket.resetAndDestroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on("error", end)
      socket.on("close", () => {
        sockets.delete(socket)
        end()
      })
    }
    client.on("data", (data) => upstream.write(data))
    upstream.on("data", (data: Buffer) => {
      if (isResting) left = Infinity
      client.write(data.subarray(0, Math.min(left, data.length)))
      left -= data.length
      if (left > 0) return
      cut++
      client.end(() => end())
      upstream.removeAllListeners("data")
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get cut() {
      return cut
    },
    rest() {
      isResting = true
    },
  }
}
