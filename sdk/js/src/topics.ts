import { type Calls, Limit } from "./calls.js"
import type { Line } from "./line.js"
import { epochOf, isAfter } from "./position.js"
import type { Subscriber } from "./subscription.js"
import type { Frame } from "./transport.js"
import type { Event, Position } from "./types.js"

const enum Time {
  /** How long a topic without subscriptions stays subscribed, in milliseconds. */
  Linger = 100,
}
/** The events of the frames about members. */
const PRESENCE: Record<string, string> = { join: "joined", leave: "left", presence: "present" }

/** A topic, which its subscriptions share. */
interface Topic {
  _name: string
  _members: Set<Subscriber>
  /** Up to where it has been received, or where it is to resume. */
  _position?: Position | undefined
  /** How many earlier messages it begins with, unless it resumes. */
  _last?: number | undefined
  /** Whether its messages arrive. */
  _isLive?: boolean
  /** Ends the subscription of the server; undefined: there is none. */
  _call?: AbortController | undefined
  /** How it is subscribed to. */
  _terms?: string
  _timer?: ReturnType<typeof setTimeout>
}

/** The topics of a client. */
export interface Topics {
  _size(): number
  _join(subscriber: Subscriber): void
  /** Subscribes anew if the topic has gone further than a place. It reports whether that is so. */
  _resume(topic: string, since: Position | undefined, last?: number): boolean
  _leave(subscriber: Subscriber): void
  /** Requests the list of members. */
  _list(topic: string): void
  /** Handles a frame, also the list of members that answers a call. */
  _receive(frame: Frame): void
  /** The connection has ended: tells the subscriptions that were live by an event. The server may have refused the tokens. */
  _cut(event: object | false, refused?: object): void
  /** Does something to all subscriptions. */
  _each(f: (subscriber: Subscriber) => void): void
}

/** Returns what the subscriptions to a topic need, in JSON. */
const termsOf = ({ _members }: Topic): string => {
  const all = [..._members].map((member) => member._options)
  return JSON.stringify({ mode: all.some((options) => options.mode !== "latest") ? "all" : "latest", presence: all.some((options) => options.presence) })
}

export const createTopics = (line: Line, calls: Calls): Topics => {
  const topics = new Map<string, Topic>()

  const join = (subscriber: Subscriber) => {
    const { topic: name, _options } = subscriber
    const topic: Topic = topics.get(name) ?? { _name: name, _members: new Set(), _position: _options.since, _last: _options.last }
    topics.set(name, topic)
    topic._members.add(subscriber)
    if (topic._isLive) {
      subscriber._confirm({ position: topic._position!, recovered: true, replay: 0 })
      adapt(topic)
    } else if (!topic._call) void subscribe(topic)
  }

  /** Subscribes anew if the topic has gone further than a place. Subscriptions ignore what they have. */
  const resume = (name: string, since: Position | undefined, last?: number) => {
    const topic = topics.get(name)!
    if (since ? !isAfter(topic._position!, since) : !last) return false
    topic._position = since
    topic._last = last
    void subscribe(topic)
    return true
  }

  const leave = (subscriber: Subscriber) => {
    const topic = topics.get(subscriber.topic)
    if (!topic?._members.delete(subscriber)) return
    clearTimeout(topic._timer)
    topic._timer = setTimeout(() => {
      adapt(topic)
      if (!topic._members.size) topics.delete(topic._name)
    }, Time.Linger)
  }

  /** Subscribes anew if the subscriptions to the topic want something else now. */
  const adapt = (topic: Topic) => {
    if (!topic._members.size || (topic._isLive && topic._terms !== termsOf(topic))) void subscribe(topic)
  }

  /** Subscribes, or only ends the subscription if nobody wants it. It may know that the server refused the last token. */
  const subscribe = async (topic: Topic, refused?: object) => {
    const { _name: name, _members: members } = topic
    if (line._welcome() && topic._call) line._send({ type: "unsubscribe", topics: [name] })
    topic._call?.abort()
    topic._isLive = false
    topic._call = undefined
    if (!members.size) return
    const { signal } = (topic._call = new AbortController())
    line._settle()
    await undefined // Others may subscribe too.
    const { _position: since, _last: last } = topic
    const terms = (topic._terms = termsOf(topic))
    const confirm = (answer: any) => {
      topic._last = undefined
      topic._isLive = true
      topic._position = answer.position
      for (const member of members) member._confirm(answer, since, last)
      adapt(topic)
    }
    const command = { type: "subscribe", topics: [name], since: { [name]: since }, last, ...JSON.parse(terms) }
    try {
      await calls._call(command, { timeout: Limit.Forever, signal }, confirm, refused)
    } catch (error: any) {
      if (signal.aborted) return
      topic._call = undefined
      for (const member of members) if (error.code !== "unsupported" || member._options.presence) member.close(error)
      void subscribe(topic)
    }
  }

  const list = (topic: string) => {
    calls._call({ type: "presence", topic }).catch(() => {}) // The next change may bring a list.
  }

  const present = (frame: Frame) => {
    const { type, topic, member } = frame
    const event = { ...frame, type: PRESENCE[type], members: member ? [member] : frame.members } as unknown as Event
    topics.get(topic)?._members.forEach((member) => member._options.presence && member._push(event))
  }

  const restart = (topic: Topic | undefined, refused?: object) => topic?._isLive && subscribe(topic, refused)

  const receive = (frame: Frame) => {
    const { type, position, code } = frame
    if (code) for (const name of frame.topics ?? []) restart(topics.get(name), frame)
    const topic = topics.get(frame.topic)
    const to = frame.to ?? position
    if (!topic?._isLive) return
    if (PRESENCE[type]) present(frame)
    if (!/^(message|skipped|gap)$/.test(type) || !isAfter(to, topic._position)) return
    const isGap = type === "gap" || epochOf(to) !== epochOf(topic._position)
    const event = isGap ? { type: "gap", topic: topic._name, position: to, reason: "server" } : frame
    topic._position = to
    for (const member of topic._members) member._push(event as Event, to)
  }

  return {
    _size: () => topics.size,
    _join: join,
    _resume: resume,
    _leave: leave,
    _list: list,
    _receive: receive,
    _cut: (event, refused) =>
      topics.forEach((topic) => {
        if (event && topic._isLive) topic._members.forEach((member) => member._push({ ...event, topic: topic._name } as Event))
        restart(topic, refused)
      }),
    _each: (f) => topics.forEach((topic) => topic._members.forEach(f)),
  }
}
