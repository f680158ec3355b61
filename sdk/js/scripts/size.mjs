// Measures what the package adds to a page: entries bundled by esbuild, minified, and
// compressed by gzip -9. An argument takes the place of these entries: what a page imports.

import { gzipSync } from "node:zlib"
import { build } from "esbuild"

/** What a page imports, the modules it has anyway, and the most bytes that may come of it. */
export const limits = [
  { name: "notiflux", source: 'export * from "notiflux"', bytes: 6144 },
  { name: "notiflux/server", source: 'export * from "notiflux/server"', bytes: 6144 },
  { name: "notiflux with notiflux/tabs", source: 'export * from "notiflux"; export * from "notiflux/tabs"', bytes: 9216 },
  {
    name: "notiflux with notiflux/tabs and notiflux/positions",
    source: 'export * from "notiflux"; export * from "notiflux/tabs"; export * from "notiflux/positions"',
    bytes: 9216,
  },
  { name: "notiflux with notiflux/patterns", source: 'export * from "notiflux"; export * from "notiflux/patterns"', bytes: 8192 },
  { name: "notiflux/testing", source: 'export * from "notiflux/testing"', bytes: 4096 },
  { name: "notiflux/react", source: 'export * from "notiflux/react"', external: ["react"], bytes: 1024 },
  { name: "notiflux/vue", source: 'export * from "notiflux/vue"', external: ["vue"], bytes: 1024 },
]

/** measure returns the compressed size of a module that has this source. */
export async function measure({ source, external = [] }) {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: new URL("..", import.meta.url).pathname },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    external,
    write: false,
  })
  return gzipSync(outputFiles[0].contents, { level: 9 }).length
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const [source] = process.argv.slice(2)
  if (source) console.log(`${await measure({ source })} bytes`)
  else for (const limit of limits) console.log(`${limit.name}: ${await measure(limit)} of ${limit.bytes} bytes`)
}
