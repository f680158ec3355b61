// The package as users get it: what `npm pack` puts in, installed into an empty project and
// used there.

import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { gzipSync } from "node:zlib"

import { folder, startDev } from "./back-end.js"

const root = new URL("..", import.meta.url).pathname
const { exports, peerDependencies = {} } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

/** What the package contains, but for the chunks that its modules share, whose names change. */
const files = `
LICENSE
README.md
package.json
dist/client.d.ts
dist/error.d.ts
dist/follow.d.ts
dist/index.d.ts
dist/index.js
dist/notiflux.min.js
dist/patterns.d.ts
dist/patterns.js
dist/patterns/connect.d.ts
dist/plugin.d.ts
dist/positions.d.ts
dist/positions.js
dist/react.d.ts
dist/react.js
dist/server.d.ts
dist/server.js
dist/server/claims.d.ts
dist/server/key.d.ts
dist/server/publish.d.ts
dist/server/sign.d.ts
dist/tabs.d.ts
dist/tabs.js
dist/testing.d.ts
dist/testing.js
dist/transport.d.ts
dist/types.d.ts
dist/vue.d.ts
dist/vue.js`
  .trim()
  .split("\n")
  .sort()

const run = (program: string, args: string[], cwd: string): string => {
  try {
    return execFileSync(program, args, { cwd, encoding: "utf8", timeout: 60_000, stdio: ["ignore", "pipe", "pipe"] })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${program} ${args.join(" ")}\n${stdout}${stderr}`)
  }
}

/** Packs the package, and installs it into an empty project. */
const install = (t: TestContext): { project: string; installed: string; packed: string[] } => {
  const project = folder(t)
  // npm test runs after a build, so the scripts need not build again.
  const [{ filename, files }] = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", project], root))
  writeFileSync(join(project, "package.json"), '{"private": true, "type": "module"}')
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", filename], project)
  const modules = join(project, "node_modules")
  for (const name of [...Object.keys(peerDependencies), "@types"]) symlinkSync(join(root, "node_modules", name), join(modules, name))
  return { project, installed: join(modules, "notiflux"), packed: files.map(({ path }: { path: string }) => path) }
}

test("the package, in an empty project", async (t) => {
  const { project, installed, packed } = install(t)
  const read = (file: string): string => readFileSync(join(installed, file), "utf8")
  const isChunk = (file: string): boolean => file.startsWith("dist/chunks/") && file.endsWith(".js")

  await t.test("it contains what it should, and nothing else", () => {
    assert.deepEqual(packed.filter((file) => !isChunk(file)).sort(), files)
    const modules = packed.filter((file) => file.endsWith(".js"))
    for (const chunk of packed.filter(isChunk))
      assert.ok(modules.some((file) => file !== chunk && read(file).includes(chunk.replace(/.*\//, ""))), `nothing imports ${chunk}`)
  })

  await t.test("its types do not have the names that only the package uses", () => {
    for (const file of packed.filter((file) => file.endsWith(".d.ts"))) assert.doesNotMatch(read(file), /\b_[a-z]|@internal/, file)
  })

  await t.test("the file for <script type=module> is small and imports nothing", () => {
    const source = read("dist/notiflux.min.js")
    assert.doesNotMatch(source, /\bimport\b/)
    const size = gzipSync(source, { level: 9 }).length
    assert.ok(size <= 6144, `it is ${size} bytes`)
  })

  await t.test("every entry can be imported and required", () => {
    const entries = Object.keys(exports).map((entry) => entry.replace(".", "notiflux"))
    const modules = entries.filter((entry) => !entry.endsWith(".json"))
    const imported = modules.map((entry) => `import ${JSON.stringify(entry)}`).join("\n")
    run(process.execPath, ["--input-type=module", "--eval", imported], project)
    const required = entries.map((entry) => `require(${JSON.stringify(entry)})`).join("\n")
    run(process.execPath, ["--input-type=commonjs", "--eval", required], project)
  })

  const { url, privateKey } = await startDev(t)
  writeFileSync(join(project, "key.pem"), privateKey)
  mkdirSync(join(project, "src"))
  for (const file of ["program.ts", "program.cjs", "page.tsx"]) copyFileSync(join(root, "test/package", file), join(project, "src", file))

  /** Compiles src with strict options, and these. */
  const compile = (compilerOptions: object, include = ["src/program.ts"]) => {
    const strict = {
      target: "es2022",
      lib: ["es2022"],
      types: ["node"],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      verbatimModuleSyntax: true,
      outDir: "out",
      rootDir: "src",
    }
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: { ...strict, ...compilerOptions }, include }))
    run(join(root, "node_modules/.bin/tsc"), ["-p", "."], project)
  }

  await t.test("a program with strict types runs", () => {
    compile({ module: "node16", moduleResolution: "node16" })
    assert.equal(run(process.execPath, ["out/program.js", url, "key.pem"], project), "two,one,two logged_out\n")
  })

  await t.test("a page for a bundler compiles", () => {
    const options = { module: "esnext", moduleResolution: "bundler", lib: ["es2022", "dom"], jsx: "react-jsx", noEmit: true }
    compile(options, ["src/program.ts", "src/page.tsx"])
  })

  await t.test("a program of CommonJS runs, without warnings", () => {
    const output = run(process.execPath, ["--throw-deprecation", "--trace-warnings", "src/program.cjs", url, "key.pem"], project)
    assert.equal(output, "one,two 2 true\n")
  })
})
