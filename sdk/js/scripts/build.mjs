// Builds dist: one module for each entry of "exports" in package.json, with its types, and
// notiflux.min.js, the whole client in one file for <script type="module">. Types that no entry
// refers to are left out.
// To add the entry notiflux/NAME, write src/NAME.ts, add a line to "exports", and
// add its files to the list in test/package.test.ts.

import { execFileSync } from "node:child_process"
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { build } from "esbuild"

process.chdir(new URL("..", import.meta.url).pathname)
const { exports, peerDependencies = {} } = JSON.parse(readFileSync("package.json", "utf8"))

/** The sources of the entries: dist/NAME.js is made of src/NAME.ts. */
const sources = Object.values(exports)
  .filter((file) => file.endsWith(".js"))
  .map((file) => file.replace("./dist/", "src/").replace(/js$/, "ts"))

rmSync("dist", { recursive: true, force: true })
execFileSync("node_modules/.bin/tsc", { stdio: "inherit" })
keepReachable(sources.map((file) => file.replace("src/", "dist/").replace(/ts$/, "d.ts")))

const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  outdir: "dist",
  external: Object.keys(peerDependencies),
  minifySyntax: true,
  mangleProps: /^_/, // Names that only this package uses are shortened, in all entries alike.
}
// The main entry gets the shortest names.
const { mangleCache } = await build({ ...common, entryPoints: ["src/index.ts"], write: false, mangleCache: {} })
await build({
  ...common,
  entryPoints: sources,
  outbase: "src",
  splitting: true,
  chunkNames: "chunks/[hash]",
  mangleCache,
})
// An import of a chunk that another chunk needs has no effect, and bundlers warn of it.
for (const file of sources.map((source) => source.replace("src/", "dist/").replace(/ts$/, "js")))
  writeFileSync(file, readFileSync(file, "utf8").replace(/^import "\.\/chunks\/.*";\n/gm, ""))
await build({ ...common, entryPoints: { "notiflux.min": "dist/index.js" }, minify: true, mangleProps: undefined })

/** Removes the .d.ts files that neither these nor the files that they refer to need. */
function keepReachable(files) {
  const needed = new Set(files)
  for (const file of needed)
    for (const [, name] of readFileSync(file, "utf8").matchAll(/(?:from|import\() ?"(\.[^"]+)\.js"/g))
      needed.add(join(dirname(file), `${name}.d.ts`))
  for (const name of readdirSync("dist", { recursive: true }))
    if (name.endsWith(".d.ts") && !needed.has(join("dist", name))) rmSync(join("dist", name))
}
