// The seam between the client and the ways to reach a server. Whatever carries frames, the
// client sees a connection of the JSON protocol (docs/protocol.md, section 4).

/** A command of the JSON protocol, with the members of its type. */
export type Command = { type: string; id?: number; [member: string]: unknown }

/** What the server sends: an object of the JSON protocol. */
export type Frame = { type: string; id?: number; [member: string]: any }

/** Opens connections, one at a time. */
export interface Transport {
  /** Opens a connection. It calls the receiver only after open has returned. */
  open(receiver: Receiver): Connection
}

export interface Connection {
  /** Sends a command. Its answer comes as a frame with the same id. Called only after `welcome`. */
  send(command: Command): void
  /** Ends the connection. The receiver is not called any more. */
  close(): void
}

export interface Receiver {
  /**
   * Takes a frame; the first one is `welcome`. If that has `ping`, the client sends pings and
   * expects pongs.
   */
  frame(frame: Frame): void
  /** The connection, or the attempt to open one, has ended. Called once, and nothing after it. */
  end(end: End): void
}

/** Why a connection ended. */
export interface End {
  /** A close code, HTTP status or code of the protocol; absent if the connection broke. */
  code?: number | string
  /** How long to wait at least before the next attempt, in milliseconds. */
  after?: number
  /** @internal This way does not work here: the client uses the next one in its list. */
  _isUseless?: boolean
  /** @internal Connect again at once. Nobody needs to know. */
  _isRestart?: boolean
}
