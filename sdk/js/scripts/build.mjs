// Builds dist: one module for each entry of "exports" in package.json, with its types, and
// notiflux.min.js, the whole client in one file for <script type="module">.
// To add the entry notiflux/NAME, write src/NAME.ts and add a line to "exports".

import { execFileSync } from "node:child_process"
import { readFileSync, rmSync } from "node:fs"
import { build } from "esbuild"

process.chdir(new URL("..", import.meta.url).pathname)
const { exports, peerDependencies = {} } = JSON.parse(readFileSync("package.json", "utf8"))

/** The sources of the entries: dist/NAME.js is made of src/NAME.ts. */
const sources = Object.values(exports)
  .filter((file) => file.endsWith(".js"))
  .map((file) => file.replace("./dist/", "src/").replace(/js$/, "ts"))

rmSync("dist", { recursive: true, force: true })
execFileSync("node_modules/.bin/tsc", { stdio: "inherit" })

const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  outdir: "dist",
  external: Object.keys(peerDependencies),
  minifySyntax: true,
  mangleProps: /^_/, // Names that only this package uses are shortened, in all entries alike.
}
const { mangleCache } = await build({
  ...common,
  entryPoints: sources,
  outbase: "src",
  splitting: true,
  chunkNames: "chunks/[hash]",
  mangleCache: {},
})
await build({ ...common, entryPoints: { "notiflux.min": "src/index.ts" }, minify: true, mangleCache })
