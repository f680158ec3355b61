// The programs in the README that make a page, on the real server.

import { container } from "../test/dom.mjs"

import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type TestContext, test } from "node:test"

import { transform } from "esbuild"
import { WebSocket } from "ws"
import { folder } from "./back-end.js"
import { startServer, token } from "./server.js"

const root = new URL("..", import.meta.url).pathname

/** Runs the first program after a heading. Its client ends with the test. */
const run = async (t: TestContext, heading: string, replace: Record<string, string>) => {
  const [, language, source] = /```(jsx?)\n(import .*?)```/s.exec(readFileSync(join(root, "README.md"), "utf8").split(heading + "\n")[1]!)!
  const program = Object.entries({ ...replace, "const client =": "export const client =" }).reduce((text, [from, to]) => {
    assert.ok(text.includes(from), from)
    return text.replace(from, to)
  }, source!)
  const { code } = await transform(program, { loader: language as "js" | "jsx", jsx: "automatic" })
  const dir = folder(t)
  for (const name of ["node_modules", "package.json"]) symlinkSync(join(root, name), join(dir, name))
  symlinkSync(join(root, "dist"), join(dir, "dist"))
  writeFileSync(join(dir, "program.js"), code)
  const { client } = await import(join(dir, "program.js"))
  t.after(() => client.close())
  return client
}

for (const [heading, list] of [
  ["## React: `notiflux/react`", "<ul><li>hello</li><li>(some news are missing here)</li></ul>"],
  ["## Vue: `notiflux/vue`", "<ul><li>hello</li><li>(some news are missing here)</li></ul>"],
])
  test(`the page of ${heading} shows news, gaps and who is there`, { timeout: 30_000 }, async (t) => {
    Object.assign(globalThis, { WebSocket, IS_REACT_ACT_ENVIRONMENT: false })
    const element = container()
    element.id = "root"
    document.body.replaceChildren(element)
    const server = await startServer(t)
    const client = await run(t, heading!, { "http://127.0.0.1:8080": server.url, "/api/token": token({ topics: ["news"] }) })
    const until = async (part: string) => {
      while (!element.innerHTML.includes(part)) await new Promise((resolve) => setImmediate(resolve))
    }
    await until("connected, 1 here")
    await client.publish("news", { title: "hello" })
    await until("<li>hello</li>")
    await server.stop()
    await server.start()
    await until(list!)
  })

test("the test in the README passes", { timeout: 30_000 }, async (t) => {
  const [, program] = /```js\n(import .*?)```/s.exec(readFileSync(join(root, "README.md"), "utf8").split("`notiflux/testing`\n")[1]!)!
  const dir = folder(t)
  for (const name of ["node_modules", "package.json", "dist"]) symlinkSync(join(root, name), join(dir, name))
  writeFileSync(join(dir, "program.mjs"), program!)
  const { NODE_TEST_CONTEXT, ...env } = process.env
  assert.match(execFileSync(process.execPath, ["program.mjs"], { cwd: dir, env, encoding: "utf8" }), /^# pass 1$/m)
})
