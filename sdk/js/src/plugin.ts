// What notiflux/tabs and notiflux/positions implement.

import type { Transport } from "./transport.js"
import type { Position } from "./types.js"

/** Shares one connection between tabs. */
export interface TabsPlugin {
  /** Returns a transport whose connections lead through the one connection that a tab opens with `transport`. */
  share(transport: Transport, url: string): Transport
}

/** Remembers positions across reloads. */
export interface PositionsPlugin {
  /** Called once by connect, with what writes to the log. */
  open(url: string, log: (event: string, facts: object) => void): Positions
}

/** The positions for one server and user. */
export interface Positions {
  /** Returns where a subscription to the topic continues. With getState it throws. */
  get(topic: string, options: { since?: Position | undefined; getState?: unknown }): Position | undefined
  /** Notes that the event at a position was handled. Called often. */
  set(topic: string, position: Position): void
  /** The client is closed. */
  close(): void
}
