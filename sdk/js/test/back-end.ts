// What the tests of notiflux/server need: keys made by OpenSSL, and the real server, whose
// program the environment variable NOTIFLUX names.

import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { TestContext } from "node:test"

/** Runs openssl and returns what it prints. */
export const openssl = (args: string, input = ""): string =>
  execFileSync("openssl", args.split(" "), { input, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] })

/** Returns the public key of a private key. */
export const publicKeyOf = (pem: string): string => openssl("pkey -pubout", pem)

/** Returns a folder that is removed after the test. */
export const folder = (t: TestContext): string => {
  const dir = mkdtempSync(join(tmpdir(), "notiflux-"))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}

/** Starts `notiflux serve` with public keys, and returns its URL. It ends with the test. */
export const startServer = async (t: TestContext, publicKeys: string, ...flags: string[]): Promise<string> => {
  const file = join(folder(t), "public.pem")
  writeFileSync(file, publicKeys)
  return start(t, /msg=listening .*\burl=(\S+)/, ["serve", "--port", "0", "--admin-addr=", "--jwt-public-key-file", file, ...flags])
}

/** Starts `notiflux dev`, and returns its URL and its private key. It ends with the test. */
export const startDev = async (t: TestContext): Promise<{ url: string; privateKey: string }> => {
  const dir = folder(t)
  const url = await start(t, /^notiflux serves on (\S+)/, ["dev", "--port", "0", "--dir", dir])
  return { url, privateKey: readFileSync(join(dir, "es256_private.pem"), "utf8") }
}

const start = async (t: TestContext, listening: RegExp, args: string[]): Promise<string> => {
  const child = spawn(process.env.NOTIFLUX!, args, { stdio: ["ignore", "pipe", "pipe"] })
  t.after(async () => {
    child.kill("SIGKILL")
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit")
  })
  const output = args[0] === "dev" ? child.stdout : child.stderr
  const other = args[0] === "dev" ? child.stderr : child.stdout
  other.resume()
  for await (const line of createInterface({ input: output })) {
    const [, url] = listening.exec(line) ?? []
    if (!url) continue
    output.resume()
    return url
  }
  throw new Error(`notiflux ${args[0]} does not start`)
}

/** Reads a topic with a token, and returns the status and what the server says. */
export const history = async (url: string, topic: string, token: string): Promise<{ status: number; body: any }> => {
  const response = await fetch(`${url}/history?topic=${encodeURIComponent(topic)}`, { headers: { Authorization: `Bearer ${token}` } })
  return { status: response.status, body: await response.json() }
}
