// Chromium, and a site for its pages.

import { existsSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { TestContext } from "node:test"
import { type Browser, chromium, type LaunchOptions, type Page } from "playwright-core"

/** The path of Chromium; undefined: it is not there. */
export const executablePath = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync)

export const switches = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]

/** Why tests with Chromium cannot run here, or false. */
export const isMissing = !executablePath && "needs Chromium: its path in CHROMIUM"

export const startChromium = async (t: TestContext, options: LaunchOptions = {}): Promise<Browser> => {
  const browser = await chromium.launch({ executablePath: executablePath!, args: switches, ...options })
  t.after(() => browser.close())
  return browser
}

/** Serves the files of dist, and these. It returns the origin. */
export const startSite = async (t: TestContext, files: Record<string, string>, headers: Record<string, string> = {}): Promise<string> => {
  const site = createServer(({ url = "" }, answer) => {
    const file = "dist" + url
    const text = files[url] ?? (existsSync(file) ? readFileSync(file) : undefined)
    if (text === undefined) return answer.writeHead(404).end()
    return answer.writeHead(200, { "Content-Type": url.endsWith(".js") ? "text/javascript" : "text/html", ...headers }).end(text)
  })
  await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve))
  t.after(() => site.close())
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`
}

/** Opens a page, and collects what it reports as errors. */
export const openPage = async (browser: Browser, url: string): Promise<Page & { errors: string[] }> => {
  const errors: string[] = []
  const page = await browser.newPage()
  page.on("pageerror", (error) => errors.push(String(error)))
  await page.goto(url)
  return Object.assign(page, { errors })
}
