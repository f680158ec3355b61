import { NotifluxError } from "../error.js"
import { fallback } from "../fallback.js"
import type { Transport } from "../transport.js"
import type { Options } from "../types.js"
import { websocket } from "../websocket.js"

/** Returns the ways to connect that work here. For them patterns are what topics are for the client. */
export const ways = (url: string, { credentials, fetch: get = fetch, WebSocket = globalThis.WebSocket, transports }: Options, cursor: () => string | undefined): Transport[] => {
  /** Asks for patterns, from the cursor on if there is one. */
  const ask: typeof fetch = async (address, init) => {
    const { topics, ...body } = JSON.parse((init?.body as string | undefined) ?? "{}")
    if (!topics) return get(address, init)
    if (typeof body.since !== "string") body.since = cursor() ?? body.since
    const response = await get(address, { ...init, body: JSON.stringify({ ...body, patterns: topics }) })
    if (!response.ok || (address as string).endsWith("/stream")) return response
    const answer = await response.json()
    answer.messages.push({ type: "position", cursor: answer.cursor })
    return new Response(JSON.stringify({ ...answer, topics: answer.patterns }))
  }

  const translate = (transport: Transport, isJSON?: boolean): Transport => ({
    open({ frame, end }) {
      const connection = transport.open({ frame: (f) => frame(f.patterns ? { ...f, topics: f.patterns } : f), end })
      const send = ({ topics, ...command }: any) => connection.send(topics ? { ...command, patterns: topics } : command)
      return { send: isJSON ? send : (command) => connection.send(command), close: () => connection.close() }
    },
  })

  const found = (transports ?? ["websocket", "stream", "poll"]).flatMap((way) => {
    if (way === "websocket") return WebSocket && credentials !== "include" ? [translate(websocket(url, WebSocket), true)] : []
    return [typeof way === "string" ? translate(fallback(way, url, ask, credentials)) : translate(way, true)]
  })
  if (!found[0]) throw new NotifluxError("unsupported")
  return found
}
