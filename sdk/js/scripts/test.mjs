// Runs the tests: checks the types of sources and tests, bundles each test/*.test.ts into
// build/, and has Node run these. Tests import "notiflux" as a user does, from dist, which
// has to be built before, or single modules from ../src.
// Arguments: names of tests, by default all.

import { execFileSync, spawnSync } from "node:child_process"
import { readdirSync, rmSync } from "node:fs"
import { build } from "esbuild"

process.chdir(new URL("..", import.meta.url).pathname)
const chosen = process.argv.slice(2)
const names = readdirSync("test")
  .filter((file) => file.endsWith(".test.ts"))
  .map((file) => file.replace(".test.ts", ""))
  .filter((name) => chosen.length === 0 || chosen.includes(name))

process.env.NOTIFLUX ??= buildServer()

execFileSync("node_modules/.bin/tsc", ["-p", "test"], { stdio: "inherit" })
for (const file of names) rmSync(`build/${file}.test.js`, { force: true })
const common = { bundle: true, platform: "node", format: "esm", target: "node20", sourcemap: "inline", outdir: "build" }
await build({
  ...common,
  entryPoints: names.map((name) => `test/${name}.test.ts`),
  packages: "external",
  external: ["*.mjs"],
})
if (names.includes("react")) {
  await build({
    ...common,
    entryPoints: { "react-18.test": "test/react.test.ts" },
    alias: { react: "react-18", "react-dom": "react-dom-18" },
    external: ["*.mjs"],
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url)' },
  })
  names.push("react-18")
}
const files = names.map((name) => `build/${name}.test.js`)
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" })
process.exit(status ?? 1)

function buildServer() {
  const program = `${process.cwd()}/build/notiflux`
  execFileSync("go", ["build", "-o", program, "../../cmd/notiflux"], { stdio: "inherit" })
  return program
}
