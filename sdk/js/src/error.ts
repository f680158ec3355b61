import type { Code } from "./types.js"

/** What went wrong. Programs switch on `code`; `message` is for people and may change. */
export class NotifluxError extends Error {
  /** A code of the protocol, or one of this package. */
  declare readonly code: Code
  /** The topic that the error is about, if it is about one. */
  declare readonly topic?: string
  /** If the connection ended: the close code of the WebSocket, the HTTP status, or the code of the protocol. */
  declare readonly status?: number | string | undefined
  /** Whether the same may succeed later. */
  declare readonly retry: boolean

  constructor(code: Code, more?: { topic?: string; status?: number | string | undefined; retry?: boolean; cause?: unknown }, message?: string) {
    super(message ?? code)
    Object.assign(this, { name: "NotifluxError", code, retry: false }, more)
  }
}
