// The public types of the package.

import type { NotifluxError } from "./error.js"
import type { PositionsPlugin, TabsPlugin } from "./plugin.js"
import type { Transport } from "./transport.js"

declare const position: unique symbol

/** A place in a topic. Store it and pass it back as `since`; its text has no meaning for programs. */
export type Position = string & { readonly [position]: true }

/** Why a request for a token is made. */
export interface Need {
  /** What the token must allow. */
  scope: "subscribe" | "broadcast"
  /** The topics that the token must name; it may name more. */
  topics: string[]
  /** From notiflux/patterns, instead of topics: the patterns that the token must allow. */
  patterns?: string[]
  /** The code with which the server refused the last token; absent at the first request. */
  code?: Code
  /** Aborted after 30 s: then the request has failed, and the client asks again. */
  signal: AbortSignal
}

/** The options of `connect`. */
export interface Options {
  /**
   * Gets tokens: a function, or the URL of a route of your back end. The URL gets a POST with
   * `{scope, topics, code}` in JSON and answers with the token as text. A function that returns
   * null, or a URL that answers 204 or 401, says that the user is logged out: the subscriptions
   * end. After a rejection the client asks again later. A JWT is used as it is.
   */
  token?: string | ((need: Need) => string | null | Promise<string | null>)
  /** The ways to connect, in the order in which to try them. By default all three. */
  transports?: (TransportName | Transport)[]
  /** Passed to fetch. With "include" the client sends cookies and does not use WebSockets. */
  credentials?: NonNullable<RequestInit["credentials"]>
  /** Takes the place of the global WebSocket, for example the class of the package ws. */
  WebSocket?: WebSocketClass
  /** Takes the place of the global fetch. */
  fetch?: typeof fetch
  /** Shares one connection between the tabs of a browser: `tabs()` of notiflux/tabs. */
  tabs?: TabsPlugin
  /** Remembers positions across reloads: `positions()` of notiflux/positions. */
  positions?: PositionsPlugin
  /** Gets what the client does, for a log. The lines contain no tokens and no data. */
  log?: (line: LogLine) => void
}

export type TransportName = "websocket" | "stream" | "poll"

/** A line for a log: what happened, and the facts. */
export type LogLine = { event: string; [fact: string]: unknown }

/** What the client uses of a WebSocket class. */
export type WebSocketClass = new (url: string, protocols: string[]) => {
  onmessage: ((event: any) => void) | null
  onclose: ((event: any) => void) | null
  onerror: ((event: any) => void) | null
  send(text: string): void
  close(code?: number): void
}

/**
 * The data of the messages of topic K, where T maps topics to types. A key of T may be a
 * pattern like `chat:${string}`.
 */
export type Data<T, K extends string> = K extends keyof T ? T[K] : string extends keyof T ? T[keyof T] : unknown

/** A client of one server. It connects when it is first used. */
export interface Client<T extends object = Record<string, unknown>> {
  readonly state: State
  /** The server's name for the current connection, for `exclude`; on a fallback there is none. */
  readonly connection: string | undefined
  /** Calls f with every new state, and why it changed if there is a reason; returns a function that stops this. */
  on(f: (state: State, why?: NotifluxError) => void): () => void
  /** Subscribes and calls the handlers, one call at a time. */
  subscribe<K extends string, S = never>(
    topic: K,
    options: SubscribeOptions<S> & Handlers<K, Data<T, K>, S>,
  ): Subscription<K, Data<T, K>, S>
  /** Subscribes; iterate over what is returned. */
  subscribe<K extends string, S = never>(
    topic: K,
    options?: SubscribeOptions<S> & NoHandlers,
  ): Subscription<K, Data<T, K>, S> & AsyncIterable<Event<K, Data<T, K>, S>>
  /**
   * Publishes a message and returns its position. It retries for up to 100 s with one key, so
   * that the message is published once. If it then is unknown whether it was published, it
   * rejects with the code outcome_unknown.
   */
  publish<K extends string>(topic: K, data: Data<T, K>, options?: PublishOptions): Promise<Position>
  /** Returns messages that the server still has: the last ones or, with `since`, those after it. */
  history<K extends string>(topic: K, options?: HistoryOptions): Promise<History<K, Data<T, K>>>
  /** Returns who is present in a topic. */
  presence(topic: string, options?: CallOptions): Promise<Presence>
  /** Returns the position of the newest message of a topic. */
  position(topic: string, options?: CallOptions): Promise<Position>
  /** Ends all subscriptions and the connection. */
  close(): Promise<void>
}

export interface CallOptions {
  /** How long to try, in milliseconds; by default 100,000, which is also the most for a publish. */
  timeout?: number
  /** Ends the call, which rejects with the signal's reason. */
  signal?: AbortSignal
}

export interface PublishOptions extends CallOptions {
  /** Identifies the message: for two minutes the server publishes it once. By default a random key. */
  key?: string
}

export interface HistoryOptions extends CallOptions {
  since?: Position | undefined
  /** The number of messages, up to 1,000; by default 100. */
  limit?: number
}

/** The messages of a topic, the oldest first. */
export interface History<K, D> {
  messages: Message<K, D>[]
  /** From where to read on or to subscribe. */
  position: Position
  /** False if messages between `since` and the first of these are missing. */
  recovered: boolean
  /** Whether there are more messages after these. */
  more: boolean
}

export interface Presence {
  /** The number of members. */
  count: number
  /** The number of subscriptions, with presence or without. */
  subscribers: number
  /** Up to 1,000 of the members. */
  members: Member[]
}

export interface SubscribeOptions<S = never> {
  /** Continue after this position. If messages after it are missing, the first event is a gap. */
  since?: Position | undefined
  /** Begin with up to this many earlier messages, unless there is a `since`. */
  last?: number
  /** "latest": a subscriber that is behind gets only the newest message, after a `skipped`. By default "all". */
  mode?: "all" | "latest"
  /** Become a member of the topic, and get `joined`, `left` and `present`. */
  presence?: boolean
  /** The size of the queue in events, by default 1,000. It also holds at most 1 MiB. */
  buffer?: number
  /** Ends the subscription. */
  signal?: AbortSignal
  /**
   * Loads the state that the messages change: called at the beginning and after each gap.
   * Messages continue after the position that it returns. Without one they may repeat what
   * the state has.
   */
  getState?: (request: { topic: string; signal: AbortSignal }) => S | Snapshot<S> | Promise<S | Snapshot<S>>
}

/** A state, and the position of the last message that it contains. */
export type Snapshot<S> = { state: S; position: Position }

/**
 * The handlers of a subscription. When one throws or rejects, it is called again with the same
 * event, after a pause; after five times the subscription ends.
 */
export interface Handlers<K, D, S = never> {
  /** A message is handled, and `position` moves on, when this returns or its promise resolves. */
  onMessage(message: Message<K, D>): unknown
  /** Messages are missing: load again what depends on them. With getState, "ignore" is enough. */
  onGap: "ignore" | ((gap: Gap) => unknown)
  /** Gets all other events. */
  onEvent?(event: Exclude<Event<K, D, S>, Message<K, D> | Gap>): unknown
  /** The subscription has ended. Without onError, the error is thrown where nothing catches it. */
  onError?(error: NotifluxError): void
}

/** Rules out handlers, so that a subscription without onGap does not compile. */
export type NoHandlers = { [name in "onMessage" | "onGap" | "onEvent" | "onError"]?: never }

/**
 * A subscription to one topic. Iterating yields its events; an event is handled when the next
 * one is asked for. Leaving the loop closes the subscription. If the server ends it, the loop
 * throws a NotifluxError after the last event.
 */
export interface Subscription<K = string, D = unknown, S = never> {
  readonly topic: K
  /** Resolves when the server has confirmed the subscription; rejects if it ends before. */
  readonly ready: Promise<void>
  /** The position of the last event that was handled. */
  readonly position: Position | undefined
  close(): void
  /** @internal */
  readonly types?: [D, S]
}

export type Event<K = string, D = unknown, S = never> =
  | Message<K, D>
  | Gap
  | ([S] extends [never] ? never : StateLoaded<S>)
  | Subscribed
  | Skipped
  | Disconnected
  | Joined
  | Left
  | Present

export type Message<K = string, D = unknown> = {
  type: "message"
  topic: K
  data: D
  position: Position
  /** When the server ordered the message, in milliseconds since 1970. */
  time: number
}

/** Messages are missing here. Those that follow come after `position`. */
export type Gap = {
  type: "gap"
  topic: string
  position: Position
  /**
   * expired: the server no longer has them; restarted: the server lost its positions; server: a
   * server behind it failed; overflow: the queue was full for too long.
   */
  reason: "expired" | "restarted" | "server" | "overflow"
}

/** What getState returned. The messages that follow come after `position`. */
export type StateLoaded<S> = { type: "state"; topic: string; state: S; position: Position }

/** The server confirmed the subscription, at first or after a reconnect. */
export type Subscribed = {
  type: "subscribed"
  topic: string
  position: Position
  /** False if messages are missing; a gap follows. */
  recovered: boolean
  /** How many of the messages that follow existed already. */
  replay: number
}

/** Mode "latest" left out the messages after `from`, up to and including `to`. */
export type Skipped = { type: "skipped"; topic: string; from: Position; to: Position }

/** The connection ended. The client connects again in `retryIn` milliseconds. */
export type Disconnected = { type: "disconnected"; topic: string; code?: number | Code | undefined; retryIn: number }

export type Joined = { type: "joined"; topic: string; members: Member[] }
export type Left = { type: "left"; topic: string; members: Member[] }

/** How many members a topic has and, unless they are too many, who they are. Replaces what came before. */
export type Present = { type: "present"; topic: string; count: number; members?: Member[] | undefined }

/** A user who is present: the claims `sub` and `info` of the token. */
export type Member = { sub: string; info?: object }

/**
 * idle: nothing to do; connecting; connected; waiting: will try again; offline: will try again
 * when the browser is online; closed: for good.
 */
export type State = "idle" | "connecting" | "connected" | "waiting" | "offline" | "closed"

/** A code of the protocol, docs/protocol.md section 5, or one of this package. */
export type Code =
  | "malformed" | "topic_invalid" | "unknown_type"
  | "token_missing" | "token_invalid" | "token_expired" | "token_revoked"
  | "scope_denied" | "topic_denied" | "presence_off" | "origin_denied"
  | "key_reused" | "too_large" | "too_many"
  | "internal" | "over_capacity" | "outcome_unknown" | "unavailable" | "draining"
  | "closed" | "logged_out" | "timeout" | "unsupported" | "callback_failed" | "disconnected"
  | (string & {}) // prettier-ignore
