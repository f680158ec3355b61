import type { Code } from "./types.js"

/** What went wrong. Programs switch on `code`; `message` is for people and may change. */
export class NotifluxError extends Error {
  override readonly name = "NotifluxError"
  /** The topic that the error is about, if it is about one. */
  readonly topic: string | undefined
  /** The HTTP status or WebSocket close code that brought the error, if one did. */
  readonly status: number | undefined
  /** Whether the same may succeed later. */
  readonly retry: boolean

  constructor(
    /** A code of the protocol, or one of this package. */
    readonly code: Code,
    message: string,
    more: { topic?: string | undefined; status?: number | undefined; retry?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause })
    this.topic = more.topic
    this.status = more.status
    this.retry = !!more.retry
  }
}
