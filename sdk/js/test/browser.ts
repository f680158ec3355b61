// Chromium by its DevTools protocol. Playwright makes all tabs believe that they are visible, and
// Chromium does not freeze a visible tab.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync } from "node:fs"
import { rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TestContext } from "node:test"
import WebSocket from "ws"

import { executablePath, switches } from "./chromium.js"

/** A tab of the one window. */
export interface Page {
  /** Runs a script, and returns its value or what its promise resolves to. */
  evaluate<T>(script: string): Promise<T>
  /** Brings the tab to the front, which hides the one that was there. */
  show(): Promise<void>
  /** Stops all tasks of a hidden tab, or continues them. */
  freeze(isFrozen: boolean): Promise<void>
  crash(): void
  close(): Promise<void>
}

export interface Browser {
  open(url: string): Promise<Page>
  /** What pages threw where nothing caught it. */
  errors: string[]
}

/** Starts Chromium with a new profile, until the end of the test. */
export const startBrowser = async (t: TestContext): Promise<Browser> => {
  const profile = mkdtempSync(join(tmpdir(), "notiflux-"))
  const options = ["--headless=new", "--remote-debugging-port=0", "--user-data-dir=" + profile]
  const program = spawn(executablePath!, [...switches, ...options, "about:blank"], { stdio: ["ignore", "ignore", "pipe"] })
  t.after(async () => {
    program.kill()
    if (program.exitCode === null) await once(program, "exit")
    // Other processes of Chromium end later, and write until then. rmSync does not try a folder again.
    await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  })
  const address = await new Promise<string>((resolve, reject) => {
    let printed = ""
    program.stderr.on("data", (data) => {
      printed += data
      const [found] = /ws:\/\/\S+/.exec(printed) ?? []
      if (found) resolve(found)
    })
    program.on("exit", () => reject(new Error("Chromium ended: " + printed)))
  })
  const socket = new WebSocket(address, { maxPayload: 1 << 30 })
  await once(socket, "open")

  const answers = new Map<number, (answer: any) => void>()
  const errors: string[] = []
  let lastId = 0
  socket.on("message", (text) => {
    const { id, method, params, ...answer } = JSON.parse(String(text))
    if (method === "Runtime.exceptionThrown") errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text)
    answers.get(id)?.(answer)
    answers.delete(id)
  })
  const send = (method: string, params: object = {}, sessionId?: string): Promise<any> =>
    new Promise((resolve, reject) => {
      answers.set(++lastId, ({ result, error }) => (error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result)))
      socket.send(JSON.stringify({ id: lastId, method, params, sessionId }))
    })

  return {
    errors,
    async open(url) {
      const { targetId } = await send("Target.createTarget", { url })
      const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true })
      await send("Runtime.enable", {}, sessionId)
      return {
        async evaluate(expression) {
          const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true }, sessionId)
          if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
          return result.value
        },
        show: () => send("Target.activateTarget", { targetId }),
        freeze: (isFrozen) => send("Page.setWebLifecycleState", { state: isFrozen ? "frozen" : "active" }, sessionId),
        crash: () => void send("Page.crash", {}, sessionId).catch(() => {}),
        close: () => send("Target.closeTarget", { targetId }),
      }
    },
  }
}
