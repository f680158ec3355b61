// The real server, whose program the environment variable NOTIFLUX names.

import { type ChildProcess, spawn } from "node:child_process"
import { generateKeyPairSync, sign } from "node:crypto"
import { once } from "node:events"
import { createInterface } from "node:readline"
import type { TestContext } from "node:test"

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })

const encode = (part: object | Buffer) => Buffer.from(part instanceof Buffer ? part : JSON.stringify(part)).toString("base64url")

export interface Claims {
  topics?: string[]
  patterns?: string[]
  scope?: string
  sub?: string
  /** Seconds from now. */
  exp?: number
  until?: number
  info?: object
}

/** Returns a signed token that allows everything on the topics, unless the claims say otherwise. */
export const token = ({ scope = "subscribe broadcast", sub = "u1", exp = 600, until, ...claims }: Claims): string => {
  const now = Date.now() / 1000
  const signed = [{ alg: "ES256" }, { ...claims, scope, sub, exp: now + exp, ...(until !== undefined && { until: now + until }) }].map(encode).join(".")
  return signed + "." + encode(sign("sha256", Buffer.from(signed), { key: privateKey, dsaEncoding: "ieee-p1363" }))
}

export interface Server {
  url: string
  /** Ends the process, by default with SIGTERM, and waits. */
  stop(signal?: NodeJS.Signals): Promise<void>
  /** Starts it again on the same port. Its topics are empty then. */
  start(): Promise<void>
}

/** Starts a server that ends with the test. */
export const startServer = async (t: TestContext, ...flags: string[]): Promise<Server> => {
  let child: ChildProcess
  let port = "0"
  const server: Server = {
    url: "",
    async start() {
      child = spawn(process.env.NOTIFLUX!, ["serve", "--port", port, "--admin-addr=", ...flags], {
        env: { ...process.env, JWT_PUBLIC_KEY_B64: Buffer.from(publicKey.export({ type: "spki", format: "pem" })).toString("base64") },
        stdio: ["ignore", "ignore", "pipe"],
      })
      const lines = createInterface({ input: child.stderr! })
      for await (const line of lines) {
        const listening = /msg=listening .*\burl=(\S+)/.exec(line)
        if (!listening) continue
        server.url = listening[1]!
        port = new URL(server.url).port
        lines.removeAllListeners()
        child.stderr!.resume()
        return
      }
      throw new Error("the server does not start")
    },
    async stop(signal = "SIGTERM") {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill(signal)
      await once(child, "exit")
    },
  }
  t.after(() => server.stop("SIGKILL"))
  await server.start()
  return server
}
