// notiflux/positions: remembers up to where a page has handled each topic, for the next page.

import type { Positions, PositionsPlugin } from "./plugin.js"
import type { Position } from "./types.js"

const enum Limit {
  /** How often the positions are written at most, in milliseconds. */
  Pause = 1000,
  /** The topics whose positions are kept: those that moved last. */
  Topics = 1000,
}

export interface PositionsOptions {
  /** Whose positions these are: what identifies the user in your application. */
  user: string
  /**
   * Where to keep them: as your application's state, `localStorage` (the default) for all tabs
   * together, or `sessionStorage` for each tab.
   */
  storage?: Pick<Storage, "getItem" | "setItem">
}

/**
 * Returns the plugin for `connect`. It is for applications that persist their state as well:
 * the next page continues after the last event that this one handled, and gets up to a second
 * of events again if it was killed.
 */
export const positions = ({ user, storage }: PositionsOptions): PositionsPlugin => ({
  open(url, log) {
    if (typeof user !== "string") throw new TypeError("positions: user is not a string; use what identifies the user")
    const key = "notiflux " + url + " " + user
    /** What has not been written yet. */
    let changed = new Map<string, Position>()
    let timer: ReturnType<typeof setTimeout> | undefined
    const page = new AbortController()

    /** Does something with the storage, whose mere mention may throw. */
    const attempt = <T>(f: (storage: NonNullable<PositionsOptions["storage"]>) => T): T | undefined => {
      try {
        return f(storage ?? localStorage)
      } catch (error) {
        log("positions", { error })
        return undefined
      }
    }

    const read = () =>
      new Map(
        attempt((storage) => {
          const found: [string, Position][] = JSON.parse(storage.getItem(key) ?? "[]")
          for (const [topic, position] of found) if (!topic.trim || !/^[a-z\d]{1,64}:(0|[1-9]\d{0,19})$/i.test(position)) throw new Error("not positions: " + key)
          return found
        }),
      )

    const write = () => {
      clearTimeout(timer)
      timer = undefined
      if (!changed.size) return
      // Other tabs write too.
      const all = read()
      for (const [topic, position] of changed) {
        all.delete(topic)
        all.set(topic, position)
      }
      attempt((storage) => {
        storage.setItem(key, JSON.stringify([...all].slice(-Limit.Topics)))
        changed = new Map()
      })
    }

    for (const type of ["pagehide", "freeze"]) globalThis.addEventListener?.(type, write, { signal: page.signal })

    return {
      get(topic, { since, getState }) {
        if (getState) throw new TypeError("getState and positions exclude each other: getState loads the state, positions continue one that the page has kept")
        return since ?? changed.get(topic) ?? read().get(topic)
      },
      set(topic, position) {
        changed.set(topic, position)
        timer ??= setTimeout(write, Limit.Pause)
      },
      close() {
        write()
        page.abort()
      },
    } satisfies Positions
  },
})
