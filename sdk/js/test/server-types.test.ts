// The types of notiflux/server: what must compile and what must not. `npm test` checks the
// types before it runs anything.

import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"

import { NotifluxError } from "notiflux"
import * as server from "notiflux/server"
import { type Claims, importKey, type Outcome, type Position, type PrivateKey, publish, sign } from "notiflux/server"

import { folder } from "./back-end.js"

/** Fails to compile unless both types are the same. */
const same = <A, B>(..._: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? [] : [never]) => {}

// Never called: it only has to compile.
export const compiles = async (key: PrivateKey, maybe: string | undefined, claims: Claims, topics: readonly string[]) => {
  same<Awaited<ReturnType<typeof sign>>, string>()
  await sign({ sub: "u", topic: "a" }, key, { kid: maybe })
  await sign({ sub: "u", topics, scope: ["subscribe", "broadcast"] as const, expiresIn: 60, until: new Date(), info: { name: "Ann" } }, key)
  await sign({ sub: "u", topics, topic: maybe }, await importKey(new Uint8Array()))
  await sign({ sub: "u", patterns: ["a*"] }, key)
  await sign({ sub: "u", subscribe: { patterns: topics }, broadcast: { topics } }, key)
  await sign(claims, key)
  // @ts-expect-error: rights are lists
  await sign({ sub: "u", broadcast: "a" }, key)
  // @ts-expect-error: there is no topic
  await sign({ sub: "u" }, key)
  // @ts-expect-error: there is no sub
  await sign({ topic: "a" }, key)
  // @ts-expect-error: the topic may be undefined
  await sign({ sub: "u", topic: maybe }, key)
  // @ts-expect-error: scope
  await sign({ sub: "u", topic: "a", scope: "publish" }, key)
  // @ts-expect-error: until is a Date
  await sign({ sub: "u", topic: "a", until: 60 }, key)
  // @ts-expect-error: the name is expiresIn
  await sign({ sub: "u", topic: "a", exp: 60 }, key)
  // @ts-expect-error: info is an object
  await sign({ sub: "u", topic: "a", info: "Ann" }, key)
  // @ts-expect-error: a private key is required
  await sign({ sub: "u", topic: "a" })

  const one = await publish("http://a.test", { topic: "a", message: null }, { token: "t" })
  same<typeof one, Position>()
  const several = await publish(new URL("http://a.test"), [{ topic: "a", message: 1, key: maybe, exclude: maybe }], { privateKey: key, sub: "u", kid: maybe })
  same<typeof several, Outcome[]>()
  for (const outcome of several) {
    // @ts-expect-error: it may have failed
    outcome.position satisfies Position
    if (outcome.error) same<typeof outcome.error, NotifluxError>()
    else same<typeof outcome.position, Position>()
  }
  await publish("http://a.test", [] as const, { token: "t", signal: AbortSignal.timeout(1), timeout: 5000, fetch })
  // @ts-expect-error: neither a token nor a private key
  await publish("http://a.test", { topic: "a", message: 1 }, {})
  // @ts-expect-error: both
  await publish("http://a.test", { topic: "a", message: 1 }, { token: "t", privateKey: key })
  // @ts-expect-error: the token may be undefined
  await publish("http://a.test", { topic: "a", message: 1 }, { token: maybe })
  // @ts-expect-error: sub is for the private key
  await publish("http://a.test", { topic: "a", message: 1 }, { token: "t", sub: "u" })
  // @ts-expect-error: no message
  await publish("http://a.test", { topic: "a" }, { token: "t" })
  // @ts-expect-error: several topics are several messages
  await publish("http://a.test", { topics: ["a"], message: 1 }, { token: "t" })
}

test("the entries share one class of errors", () => {
  assert.equal(server.NotifluxError, NotifluxError)
  assert.deepEqual(Object.keys(server).sort(), ["NotifluxError", "importKey", "publish", "sign"])
})

test("the types need nothing but those of the DOM or of Node.js", (t) => {
  const dir = folder(t)
  const root = new URL("..", import.meta.url).pathname
  mkdirSync(join(dir, "src"))
  writeFileSync(join(dir, "src/program.ts"), `import { sign } from ${JSON.stringify(join(root, "dist/server.js"))}\nexport const token: Promise<string> = sign({ sub: "u", topic: "a" }, "")\n`)
  for (const [lib, types] of [[["es2022", "dom"], []], [["es2022"], ["node"]]]) {
    const compilerOptions = { target: "es2022", module: "nodenext", strict: true, noEmit: true, lib, types, typeRoots: [join(root, "node_modules/@types")] }
    writeFileSync(join(dir, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["src"] }))
    execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", dir], { stdio: ["ignore", "inherit", "inherit"] })
  }
})
