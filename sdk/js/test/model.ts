// A model of the server that keeps its topics in memory, behind fake transports.

import { FakeConnection, type FakeTransport } from "./fake.js"

interface Log {
  /** The offsets of the messages that are kept. */
  kept: number[]
  head: number
}

/** What a connection is subscribed to, and with which terms. */
type Terms = { mode: string; presence: boolean; token: string | undefined }

export class Model {
  readonly #logs = new Map<string, Log>()
  /** The commands that arrived, over any connection. */
  readonly commands: any[] = []
  readonly subscriptions = new Map<FakeConnection, Map<string, Terms>>()
  /** How many messages a history returns at most. */
  page = 1000
  /** Set by a test: says how a command about a topic is refused. */
  refuse: (command: any, topic: string) => string | undefined = () => undefined
  /** Set by a test: says with which code a command to subscribe is refused as a whole. */
  spoil: (command: any) => string | undefined = () => undefined
  /** Set by a test: how many messages of a topic the connections have not got yet. */
  behind = 0
  /** Set by a test: answers wait in `late`. */
  late: (() => void)[] | undefined

  /** The connections that are open. */
  get open(): FakeConnection[] {
    return [...this.subscriptions.keys()].filter((connection) => !connection.isClosed)
  }

  log(topic: string): Log {
    if (!this.#logs.has(topic)) this.#logs.set(topic, { kept: [], head: 0 })
    return this.#logs.get(topic)!
  }

  /** Serves the connections of a transport. */
  serve(transport: FakeTransport): FakeTransport {
    const { open } = transport
    transport.open = (receiver) => {
      const connection = open.call(transport, receiver)
      this.subscriptions.set(connection, new Map())
      connection.send = (command) => {
        const copy = JSON.parse(JSON.stringify(command))
        this.commands.push(copy)
        setImmediate(() => this.#answer(connection, copy))
      }
      setImmediate(() => connection.welcome({ ping: 25, connection: `c${this.subscriptions.size}` }))
      return connection
    }
    return transport
  }

  /** Takes the commands of a type that arrived since the last call, without their ids. */
  take(type: string): any[] {
    const taken = this.commands.filter((command) => command.type === type)
    for (const command of taken) this.commands.splice(this.commands.indexOf(command), 1)
    return taken.map(({ id, type, ...members }) => members)
  }

  publish(topic: string, count = 1, more: object = {}): void {
    const log = this.log(topic)
    for (let i = 0; i < count; i++) {
      log.kept.push(++log.head)
      for (const [connection, topics] of this.subscriptions) if (topics.has(topic)) connection.frame({ ...this.#message(topic, log.head), ...more })
    }
  }

  /** Sends something to all that are subscribed to a topic. */
  send(topic: string, frame: any): void {
    for (const [connection, topics] of this.subscriptions) if (topics.has(topic)) connection.frame(frame)
  }

  #message(topic: string, offset: number) {
    return { type: "message", topic, position: `E:${offset}`, time: 1000, data: offset }
  }

  #answer(connection: FakeConnection, command: any): void {
    if (connection.isClosed) return
    const answer = this.#execute(connection, command)
    if (this.late) this.late.push(() => answer.forEach((frame) => connection.frame(frame)))
    else answer.forEach((frame) => connection.frame(frame))
  }

  #execute(connection: FakeConnection, command: any): any[] {
    const { id, type, topic } = command
    const code = topic && this.refuse(command, topic)
    if (code) return [{ type: "error", id, code, message: code, retry: false }]
    const log = topic && this.log(topic)
    if (type === "ping") return [{ type: "pong", id }]
    if (type === "unsubscribe") {
      for (const name of command.topics) this.subscriptions.get(connection)!.delete(name)
      return [{ type: "unsubscribed", id, topics: command.topics }]
    }
    if (type === "broadcast") {
      this.publish(topic)
      return [{ type: "broadcasted", id, topic, position: `E:${log.head}` }]
    }
    if (type === "presence") return [{ type: "presence", id, topic, count: 1, subscribers: 1, members: [{ sub: "u" }] }]
    if (type === "history") {
      const { recovered, offsets } = this.#after(topic, command.since, command.since ? Infinity : command.limit)
      const page = offsets.slice(0, Math.min(this.page, command.limit))
      const more = page.length < offsets.length
      return [{ type: "history", id, topic, messages: page.map((n) => this.#message(topic, n)), position: `E:${more ? page.at(-1) : log.head}`, recovered, more }]
    }
    const spoilt = this.spoil(command)
    if (spoilt) return [{ type: "error", id, code: spoilt, message: spoilt, retry: false }]
    const topics: any = {}
    const refused: any = {}
    const replay: any[] = []
    for (const name of command.topics) {
      const code = this.refuse(command, name)
      if (code) {
        refused[name] = { code, message: code }
        continue
      }
      const mine = this.subscriptions.get(connection)!
      const old = mine.get(name)
      const since = command.since?.[name]
      const { recovered, offsets } = this.#after(name, since, command.last ?? 0)
      const first = offsets[0]
      if (old || !recovered) topics[name] = { position: `E:${this.log(name).head - (old ? this.behind : 0)}`, recovered: !!old, replay: 0 }
      else {
        topics[name] = { position: since ?? `E:${first ? first - 1 : this.log(name).head}`, recovered: true, replay: offsets.length }
        replay.push(...offsets.map((n) => this.#message(name, n)))
      }
      mine.set(name, { mode: command.mode, presence: !!command.presence || !!old?.presence, token: command.token })
    }
    return [{ type: "subscribed", id, topics, refused }, ...replay]
  }

  /** The messages after a position, or the last ones. */
  #after(topic: string, since: string | undefined, last: number) {
    const { kept, head } = this.log(topic)
    if (!since) return { recovered: true, offsets: last ? kept.slice(-last) : [] }
    const [epoch, offset] = since.split(":")
    const recovered = epoch === "E" && +offset! <= head && +offset! >= (kept[0] ?? head + 1) - 1
    return { recovered, offsets: recovered ? kept.filter((n) => n > +offset!) : kept }
  }
}
