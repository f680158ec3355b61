// When to try again: docs/protocol.md, sections 5 and 8.

import { NotifluxError } from "./error.js"
import type { End } from "./transport.js"

/** Returns how long to wait after n failures in a row: full jitter, in milliseconds. */
export const backoff = (n: number): number => Math.random() * Math.min(30_000, 500 * 2 ** n)

export const enum Close {
  /** The token of the connection was revoked. */
  Revoked = 4003,
}

/** Returns how long to wait before connecting again, or undefined if the client must not. */
export const waitAfter = ({ code, after = 0 }: End, failures: number): number | undefined => {
  // After 4003 another token may help, and after 4009, idle, there is something to send again.
  if (/^(100[2379]|40(?!03|09)..)$/.test(code as string)) return
  const isAtOnce = /^(42..|too_slow|token_expired)$/.test(code as string)
  return Math.max(Math.min(after, 300_000), backoff(isAtOnce ? 0 : failures))
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Calls f until it succeeds or the signal is aborted, and waits after each failure. After five it rejects. */
export const persist = async <T>(f: () => T | Promise<T>, signal: AbortSignal, topic: string): Promise<T> => {
  for (let failures = 0; ; ) {
    try {
      return await f()
    } catch (cause) {
      if (signal.aborted) return undefined as T
      if (failures > 3) throw new NotifluxError("callback_failed", { topic, cause })
      await sleep(backoff(failures++))
    }
  }
}
