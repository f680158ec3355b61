import { waitAfter } from "./retry.js"
import type { Command, Connection, End, Frame, Transport } from "./transport.js"
import type { State } from "./types.js"

const enum Limit {
  /** How long a server may take for its welcome, and to answer a ping, in milliseconds. */
  Answer = 10_000,
  /** A connection that lasted for this long was a success. */
  Steady = 10_000,
  /** How long another transport is used before the first one is tried again. */
  Fallback = 300_000,
}

/** What a line asks of its client, and tells it. */
export interface Owner {
  _isNeeded(): boolean
  /** Calls f if the server can be reached at all. */
  _ifUp(f: () => void): void
  /** The state has changed, perhaps because a connection ended. */
  _changed(state: State, end?: End): void
  _began(): void
  _frame(frame: Frame): void
  /** A connection ended. The next one begins in `wait` milliseconds; undefined: never. */
  _ended(end: End, wait: number | undefined): void
}

/** Keeps a connection to the server while one is needed. */
export interface Line {
  _state(): State
  /** What the server said when the connection began; undefined: commands cannot be sent. */
  _welcome(): Frame | undefined
  /** Connects if there is no connection. It stays until it ends, or the client is closed. */
  _settle(): void
  /** Sends a command and returns its id. */
  _send(command: Command): number
  _close(): void
}

export const createLine = (transports: Transport[], owner: Owner): Line => {
  let state: State = "idle"
  /** The connection, or the attempt to make one. */
  let link: Connection | undefined
  let welcome: Frame | undefined
  let bye: Frame | undefined
  /** When the server was first heard on this connection. */
  let since = 0
  let at = 0
  /** When another transport took the place of the last one. */
  let left = 0
  /** How many attempts in a row ended before the server was heard. */
  let unheard = 0
  let failures = 0
  let id = 0
  /** The page is frozen, or in the back/forward cache. */
  let isAway = false
  let notBefore = 0
  /** Does what comes next in this state. */
  let timer: ReturnType<typeof setTimeout> | undefined
  const page = new AbortController()

  const enter = (next: State, f?: (() => void) | false | 0, wait?: number, end?: End) => {
    clearTimeout(timer)
    if (f) timer = setTimeout(f, wait)
    if (state !== next) owner._changed((state = next), end)
  }

  const stop = () => {
    link?.close()
    link = welcome = bye = undefined
  }

  const dial = () => {
    since = 0
    enter("connecting", () => end({}), Limit.Answer)
    try {
      link = transports[at]!.open({ frame: receive, end })
    } catch {
      end({ _isUseless: true })
    }
  }

  const receive = (frame: Frame) => {
    if (frame.type === "bye") bye = frame
    else if (welcome) {
      heard()
      owner._frame(frame)
    } else {
      welcome = frame
      if (!frame.connection) enter("connecting")
      else heard()
      owner._began()
    }
  }

  /** The server was heard. If it is silent from now on, the connection may be dead. */
  const heard = () => {
    const { ping } = welcome!
    if (ping || !since) enter("connected", ping ? check : at > 0 && tryFirst, ping ? ping * 1000 : left + Limit.Fallback - Date.now())
    since ||= Date.now()
    unheard = 0
  }

  /** Finds out whether the connection is alive. */
  const check = () => {
    enter("connected", () => end({}), Limit.Answer)
    send({ type: "ping" })
  }

  const tryFirst = () => {
    at = 0
    unheard = 1 // One attempt is enough.
    end({ _isRestart: true })
  }

  /** Uses the next transport from the next attempt on. */
  const giveUp = () => {
    at = ++at % transports.length
    unheard = 0
    left = Date.now()
  }

  /** Waits before the next attempt, or for the page or the browser to come back. */
  const schedule = (wait: number, end?: End) => {
    if (globalThis.navigator?.onLine === false) enter("offline", 0, 0, end)
    else enter("waiting", !isAway && dial, wait, end)
  }

  const end = ({ code = bye?.code, after = bye?.after ?? 0, _isUseless, _isRestart = false }: End) => {
    if (since && Date.now() - since > Limit.Steady) failures = 0
    if (_isUseless) giveUp()
    else if (!since && !isAway && ++unheard > 1) owner._ifUp(giveUp) // Otherwise another transport does not help.
    const why = { code, after, _isRestart }
    const wait = waitAfter(why, failures)
    stop()
    owner._ended(why, wait)
    if (_isRestart && owner._isNeeded()) return dial()
    failures++
    notBefore = Date.now() + after
    if (wait !== undefined && owner._isNeeded()) schedule(wait, why)
    else enter("idle", 0, 0, why)
  }

  const turn = ({ type }: { type: string }) => {
    isAway = /hide|freeze/.test(type)
    if (isAway) {
      clearTimeout(timer)
      if (link) end({})
    } else if (type === "visibilitychange" && document.hidden) return
    else if (welcome?.ping) check()
    else if (/waiting|offline/.test(state)) schedule(notBefore - Date.now())
  }

  const send = (command: Command) => {
    link!.send({ ...command, id: ++id })
    return id
  }

  for (const type of ["online", "offline", "pageshow", "pagehide", "freeze", "resume", "visibilitychange"])
    globalThis.addEventListener?.(type, turn, { capture: true, signal: page.signal })

  return {
    _state: () => state,
    _welcome: () => welcome,
    _settle() {
      if (state === "idle") dial()
    },
    _send: send,
    _close() {
      stop()
      enter("closed")
      page.abort()
    },
  }
}
