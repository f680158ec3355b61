// notiflux/testing: a server in memory, for the tests of programs that use the client. It has
// no sockets and no timers.

import { isPattern, isTopic, refusal } from "./testing/command.js"
import type { Command, Connection, End, Frame, Receiver, Transport } from "./transport.js"
import type { Code, Member, Message, Position } from "./types.js"

/** A server in memory. Pass it to `connect` as a transport: `connect(url, { transports: [server] })`. */
export interface TestServer extends Transport {
  /** While this is true, no connection can be made. */
  isDown: boolean
  /** Publishes a message, as a back end does. */
  publish(topic: string, data: unknown): Position
  /** Returns the messages of a topic that have not been forgotten, whoever published them. */
  messages(topic: string): Message<string, any>[]
  /** Returns the number of connections that are subscribed to a topic, or to a pattern. */
  subscribers(name: string): number
  /** Resolves when a connection is subscribed to a topic, or to a pattern. */
  subscribed(name: string): Promise<void>
  /** Lets a user become a member of a topic. */
  join(topic: string, member: Member): void
  /** Lets a member leave a topic. */
  leave(topic: string, sub: string): void
  /** Refuses what needs a token for a topic or a pattern from now on, with a code such as topic_denied; without a code, allows it again. */
  refuse(name: string, code?: Code): void
  /** Ends the connections; without an argument, as if the network broke. The clients connect again. */
  cut(end?: Pick<End, "code" | "after">): void
  /** Forgets the messages of a topic. A client that was cut before them gets a gap: expired. */
  forget(topic: string): void
  /** Tells the subscribers of a topic that messages were lost. They get a gap: server. */
  gap(topic: string): void
  /** Forgets all messages and positions, and ends the connections. The clients get a gap: restarted. */
  restart(): void
}

interface Topic {
  messages: Message<string, unknown>[]
  head: number
  members: Map<string, Member>
  /** The offset in the log of all topics of the last message that this topic lost. */
  lost: number
  /** What was published with a key: the message and its position. */
  keys: Map<string, [json: string, position: Position]>
  code: Code | undefined
}

interface Link {
  send(frame: Frame): void
  end(end: End): void
  /** The topics, with the member that the connection is of them. */
  topics: Map<string, Member | undefined>
  patterns: Set<string>
}

/** Returns a server without topics. */
export const testServer = (): TestServer => {
  const topics = new Map<string, Topic>()
  const links = new Set<Link>()
  const waiting = new Map<string, (() => void)[]>()
  /** The messages of all topics that have not been forgotten, with an offset that counts all. */
  let log: [offset: number, message: Message][] = []
  let total = 0
  /** By pattern: the offset in the log from which on its messages are held, as by the server. */
  const held = new Map<string, number>()
  let epoch = 1
  let connections = 0

  const at = (offset: number) => `test${epoch}:${offset}` as Position
  const offsetOf = (position: string) => Number(position.split(":")[1])

  const get = (name: string): Topic => {
    const topic = topics.get(name) ?? { messages: [], head: 0, members: new Map(), lost: 0, keys: new Map(), code: undefined }
    topics.set(name, topic)
    return topic
  }

  /** Tells those who are present. */
  const tellMembers = (name: string, frame: Frame) => {
    for (const link of links) if (link.topics.get(name)) link.send(frame)
  }

  const publish = (name: string, data: unknown, but?: Link): Position => {
    const topic = get(name)
    const message: Message = { type: "message", topic: name, position: at(++topic.head), time: Date.now(), data: JSON.parse(JSON.stringify(data ?? null)) }
    topic.messages.push(message)
    for (const link of links) {
      const patterns = [...link.patterns].filter((pattern) => matches(pattern, name))
      for (const pattern of patterns) link.send({ type: "position", pattern, position: at(total) })
      if (link !== but && (link.topics.has(name) || patterns.length)) link.send(message)
    }
    log.push([++total, message])
    return message.position
  }

  const join = (name: string, member: Member) => {
    const { members } = get(name)
    const isNew = !members.has(member.sub)
    members.set(member.sub, member)
    if (isNew) tellMembers(name, { type: "join", topic: name, member })
  }

  const leave = (name: string, sub: string) => {
    if (get(name).members.delete(sub)) tellMembers(name, { type: "leave", topic: name, member: { sub } })
  }

  /** Forgets the messages of a topic, up to an offset in the log. */
  const forget = (name: string, offset = get(name).lost) => {
    Object.assign(get(name), { messages: [], lost: offset })
    log = log.filter(([, { topic }]) => topic !== name)
  }

  /** Returns the messages after a position, and whether none before them are missing. */
  const since = (topic: Topic, position: string) => {
    const offset = offsetOf(position)
    const first = topic.head - topic.messages.length
    const recovered = position === at(offset) && offset >= first && offset <= topic.head
    return { recovered, messages: recovered ? topic.messages.slice(offset - first) : topic.messages }
  }

  /** Returns where a subscription to a topic begins, and the messages that follow. */
  const begin = (link: Link, name: string, place: string | undefined, last: number | undefined) => {
    const topic = get(name)
    if (link.topics.has(name)) return { position: at(topic.head), recovered: true, replay: [] }
    if (!place) {
      const replay = last ? topic.messages.slice(-Math.min(last, 1000)) : []
      return { position: at(topic.head - replay.length), recovered: true, replay }
    }
    const { recovered, messages } = since(topic, place)
    return recovered ? { position: place, recovered, replay: messages } : { position: at(topic.head), recovered, replay: [] }
  }

  /** Returns the same for a pattern. */
  const beginPattern = (link: Link, pattern: string, place: string | undefined) => {
    const offset = offsetOf(place ?? "")
    const from = held.get(pattern) ?? held.set(pattern, total).get(pattern)!
    if (!place || link.patterns.has(pattern)) return { position: at(total), recovered: true, replay: [] }
    const isLost = [...topics].some(([name, { lost }]) => lost > offset && matches(pattern, name))
    const replay = log.filter(([at, { topic }]) => at > offset && matches(pattern, topic)).map(([, message]) => message)
    if (isLost || place !== at(offset) || offset > total || offset < from || replay.length > 1000) return { position: at(total), recovered: false, replay: [] }
    return { position: place, recovered: true, replay }
  }

  const subscribe = (link: Link, { id, topics: names, patterns, since: places, last, presence, token }: any) => {
    const answers: Record<string, { position: string; recovered: boolean; replay: number }> = Object.create(null)
    const refused: Record<string, object> = Object.create(null)
    const replays = new Set<Frame>()
    const joining: [string, Member][] = []
    for (const name of new Set<string>(names ?? patterns)) {
      const invalid = (names ? isTopic(name) : isPattern(name)) ? undefined : "topic_invalid"
      const code = invalid ?? get(name).code ?? (patterns && name === "*" ? "topic_denied" : undefined)
      if (code) {
        refused[name] = { code, message: "refused by the test" }
        continue
      }
      const place = places && Object.hasOwn(places, name) ? places[name] : undefined
      const { position, recovered, replay } = names ? begin(link, name, place, last) : beginPattern(link, name, place)
      answers[name] = { position, recovered, replay: replay.length }
      for (const message of replay) replays.add(message)
      if (patterns) {
        link.patterns.add(name)
        continue
      }
      const member = presence ? memberOf(token, link) : link.topics.get(name)
      link.topics.set(name, member)
      if (member && presence) joining.push([name, member])
    }
    const begun = Object.keys(answers)
    const isRefused = Object.keys(refused)[0] !== undefined
    link.send({ type: "subscribed", id, topics: names ? answers : {}, ...(patterns && begun[0] !== undefined && { patterns: answers }), ...(isRefused && { refused }) })
    for (const [, message] of log) if (replays.has(message)) link.send(message)
    if (patterns) for (const pattern of begun) if (answers[pattern]!.replay) link.send({ type: "position", pattern, position: at(total) })
    for (const [name, member] of joining) join(name, member)
    for (const name of begun) {
      for (const resolve of waiting.get(name) ?? []) resolve()
      waiting.delete(name)
    }
  }

  const unsubscribe = (link: Link, names: Iterable<string>) => {
    for (const name of names) {
      const member = link.topics.get(name)
      link.topics.delete(name)
      if (member && ![...links].some((other) => other.topics.get(name)?.sub === member.sub)) leave(name, member.sub)
    }
  }

  const history = (topic: Topic, place: string | undefined, limit: number) => {
    const found = place ? since(topic, place) : { recovered: true, messages: limit ? topic.messages.slice(-limit) : [] }
    const messages = found.messages.slice(0, limit)
    const start = found.recovered && place ? place : at(topic.head - found.messages.length)
    return { messages, position: messages.at(-1)?.position ?? start, recovered: found.recovered, more: messages.length < found.messages.length }
  }

  const execute = (link: Link, command: any) => {
    const { type, topic: name } = command
    const id = (command.id ??= undefined)
    const code = refusal(command) ?? (name === undefined ? undefined : get(name).code)
    if (code) {
      link.send({ type: "error", ...(Number.isSafeInteger(id) && id >= 0 && { id }), code, message: "refused", retry: false })
    } else if (type === "subscribe") subscribe(link, command)
    else if (type === "unsubscribe") {
      const names = new Set<string>(command.topics ?? (command.patterns ? [] : [...link.topics.keys()].sort()))
      const patterns = new Set<string>(command.patterns ?? (command.topics ? [] : [...link.patterns].sort()))
      link.send({ type: "unsubscribed", id, topics: [...names], ...(patterns.size && { patterns: [...patterns] }) })
      unsubscribe(link, names)
      for (const pattern of patterns) link.patterns.delete(pattern)
    } else if (type === "broadcast") {
      const { keys } = get(name)
      const json = JSON.stringify(command.message)
      const [known, position] = keys.get(command.key) ?? []
      if (known && known !== json) return link.send({ type: "error", id, code: "key_reused", message: "refused", retry: false })
      const answer = position ?? publish(name, command.message, command.echo === false ? link : undefined)
      if (command.key) keys.set(command.key, [json, answer])
      link.send({ type: "broadcasted", id, topic: name, position: answer })
    } else if (type === "history") link.send({ type, id, topic: name, ...history(get(name), command.since, Math.min(command.limit ?? 100, 1000)) })
    else if (type === "presence") {
      const members = [...get(name).members.values()].sort((a, b) => (a.sub < b.sub ? -1 : 1))
      link.send({ type, id, topic: name, count: members.length, subscribers: server.subscribers(name), members })
    } else link.send({ type: "pong", id })
  }

  const server: TestServer = {
    isDown: false,
    open(receiver: Receiver): Connection {
      const name = (++connections).toString(16).padStart(16, "0")
      let isOpen = true
      /** Calls the receiver, in order and never at once. */
      const later = (f: () => void) => void Promise.resolve().then(() => isOpen && f())
      const link: Link = {
        topics: new Map(),
        patterns: new Set(),
        send: (frame) => {
          const text = JSON.stringify(frame)
          later(() => receiver.frame(JSON.parse(text)))
        },
        end(end) {
          later(() => {
            isOpen = false
            receiver.end(end)
          })
          drop()
        },
      }
      const drop = () => {
        links.delete(link)
        unsubscribe(link, [...link.topics.keys()])
      }
      links.add(link)
      if (server.isDown) link.end({})
      else link.send({ type: "welcome", connection: name, version: "testing", limits: LIMITS })
      return {
        send: (command: Command) => later(() => links.has(link) && execute(link, JSON.parse(JSON.stringify(command)))),
        close() {
          isOpen = false
          drop()
        },
      }
    },
    publish: (topic, data) => publish(topic, data),
    messages: (topic) => [...get(topic).messages],
    subscribers: (name) => [...links].filter((link) => link.topics.has(name) || link.patterns.has(name)).length,
    subscribed: (topic) =>
      new Promise((resolve) => {
        if (server.subscribers(topic)) resolve()
        else waiting.set(topic, [...(waiting.get(topic) ?? []), resolve])
      }),
    join,
    leave,
    refuse(topic, code) {
      get(topic).code = code
    },
    cut(end = {}) {
      for (const link of [...links]) link.end(end)
    },
    forget(name) {
      const [last] = log.findLast(([, { topic }]) => topic === name) ?? []
      forget(name, last)
    },
    gap(name) {
      const position = at(++get(name).head)
      forget(name, ++total)
      for (const link of links) {
        if (link.topics.has(name)) link.send({ type: "gap", topic: name, position })
        for (const pattern of link.patterns) if (matches(pattern, name)) link.send({ type: "gap", pattern, position: at(total) })
      }
    },
    restart() {
      server.cut()
      epoch++
      log = []
      total = 0
      held.clear()
      for (const topic of topics.values()) Object.assign(topic, { messages: [], head: 0, lost: 0, keys: new Map() })
    },
  }
  return server
}

const matches = (pattern: string, topic: string): boolean => topic.startsWith(pattern.slice(0, -1))

const LIMITS = { message: 65536, command: 81920, topics: 1000, topicsPerCommand: 100, commandsPerSecond: 100 }

/** Returns who a token, if it is a JWT, is for. The signature does not matter. */
const memberOf = (token: string | undefined, link: Link): Member => {
  try {
    const text = atob(token!.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/"))
    const { sub, info } = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))))
    if (typeof sub === "string") return { sub, ...(info && { info }) }
  } catch {}
  return [...link.topics.values()].find((member) => member) ?? { sub: "anonymous" }
}
