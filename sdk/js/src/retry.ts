// When to try again: docs/protocol.md, sections 5 and 8.

import { NotifluxError } from "./error.js"
import type { End } from "./transport.js"

/** Returns how long to wait after n failures in a row, in milliseconds: full jitter, or as long as the server says. */
const backoff = (n: number, after = 0): number => Math.max(Math.min(after, 300_000), Math.random() * Math.min(30_000, 500 * 2 ** n))

export const enum Close {
  /** The token of the connection was revoked. */
  Revoked = 4003,
}

/** Returns how long to wait before connecting again, or undefined if the client must not. */
export const waitAfter = ({ code, after }: End, failures: number): number | undefined => {
  // After 4003 another token may help, and after 4009, idle, there is something to send again.
  if (/^(100[2379]|40(?!03|09)..)$/.test(code as string)) return
  const isAtOnce = /^(42..|too_slow|token_expired)$/.test(code as string)
  return backoff(isAtOnce ? 0 : failures, after)
}

/** Calls f later. In Node.js this does not keep the process alive: a call or a connection does. */
export const later = (f: () => void, ms: number): ReturnType<typeof setTimeout> => {
  const timer: any = setTimeout(f, ms)
  timer.unref?.()
  return timer
}

/** Waits after n failures in a row, at least for a time in milliseconds. */
export const pause = (n: number, after?: number): Promise<void> => new Promise((resolve) => later(resolve, backoff(n, after)))

/** Calls f until it succeeds or it is over, and waits after each failure. After five it rejects. */
export const persist = async <T>(f: () => T | Promise<T>, isOver: () => boolean, topic: string): Promise<T | void> => {
  for (let failures = 0; !isOver(); ) {
    try {
      return await f()
    } catch (cause) {
      if (failures > 3) throw new NotifluxError("callback_failed", { topic, cause })
      await pause(failures++)
    }
  }
}
