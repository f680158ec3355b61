// Positions are epoch:offset. Within a topic and epoch, offsets grow.

import type { Position } from "./types.js"

/** Returns the epoch, which changes when the server loses its positions. */
export const epochOf = (p: Position | undefined): string | undefined => p?.split(":")[0]

/** Whether p is not covered by q: it comes after q, has another epoch, or there is no q. */
export const isAfter = (p: Position, q: Position | undefined): boolean =>
  // Offsets have up to 64 bits and no leading zeros.
  epochOf(p) !== epochOf(q) || (p.length === q!.length ? p > q! : p.length > q!.length)

