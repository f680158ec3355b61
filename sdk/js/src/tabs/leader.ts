// The leader has the connection to the server, and lends it to tabs. Each command of a tab
// reaches the server with the token of that tab.

import { isAfter } from "../position.js"
import type { Command, End, Frame, Transport } from "../transport.js"
import type { Position } from "../types.js"

/** What the leader sends to a tab: its term, frames in JSON, and why the connection ends. */
export type ToTab = [term: number, frames?: string, end?: End | undefined]

/** What a tab sends to the leader: its term, and a command, or that a batch has arrived. Neither asks for a sign of life. */
export type ToLeader = [term: number, command?: Command | 0, isReceipt?: 1]

const enum Limit {
  /** How long frames are gathered, in milliseconds. */
  Batch = 16,
  /** The frames, and their length in JSON, that a tab may leave unacknowledged. */
  Count = 1000,
  Size = 1 << 20,
  /** The messages of a history. */
  Page = 1000,
  /** The commands that may be sent at once, and in a millisecond; the server takes 1,000 and 0.1. */
  Burst = 900,
  Rate = 0.09,
  /** When to look again whether a subscription has ended, if the clock is wrong, in milliseconds. */
  Again = 10_000,
  /** The longest time of a timer. */
  Timer = 2e9,
}

/** What tabs want of a topic: the bits of all of them together. */
const enum Want {
  Any = 1,
  All = 2,
  Presence = 4,
}

interface Tab {
  _channel: BroadcastChannel
  /** What is gathered: the frames in JSON, and how much of it counts. */
  _frames: string[]
  _amount: Amount
  /** What was sent, and not acknowledged, batch by batch. */
  _sent: Amount[]
  _gone: AbortController
}

type Amount = [count: number, size: number]

/** A topic that is subscribed, or will be when the server answers. */
interface Topic {
  _refs: Map<Tab, Ref>
  /** Whether the server has confirmed it. */
  _isHeld?: boolean
}

/** The subscription of a tab to a topic. */
interface Ref {
  _wants: number
  _until: number | undefined
  _timer?: ReturnType<typeof setTimeout>
  /** Whether the server has confirmed it: null if not. Otherwise the frames that come before the tab is told, then undefined. */
  _held?: string[] | null | undefined
  /** The messages that it missed. */
  _missed?: Frame[]
  _hasMore?: boolean
}

export interface Leader {
  /** Takes a tab that listens on a channel and holds a lock of this name. */
  _join(id: string): void
  _close(): void
}

/** Connects to the server. When that connection ends, so do those of the tabs, and the leader is of no more use. */
export const createLeader = (transport: Transport, term: number, locks: LockManager): Leader => {
  const { BroadcastChannel, document } = globalThis
  const tabs = new Map<string, Tab>()
  const topics = new Map<string, Topic>()
  /** What takes the answers to commands. */
  const answers = new Map<number, (answer: Frame) => void>()
  const waiting: Command[] = []
  let welcome: string | undefined
  let lastId = 0
  let budget: number = Limit.Burst
  let counted = 0
  let pacing: ReturnType<typeof setTimeout> | undefined
  let gathering: ReturnType<typeof setTimeout> | undefined
  // Timers of a hidden page are late, messages are not.
  const { port1, port2 } = new MessageChannel()

  const flush = () => {
    gathering = clearTimeout(gathering)!
    for (const tab of tabs.values()) if (tab._frames[0]) post(tab)
  }
  port1.onmessage = flush

  const post = (tab: Tab, end?: End) => {
    if (tab._gone.signal.aborted) return
    tab._channel.postMessage([term, tab._frames.join(), end] satisfies ToTab)
    tab._sent.push(tab._amount)
    tab._frames = []
    tab._amount = [0, 0]
  }

  /** Sends a frame to a tab. Answers do not count: tabs ask for few at once. */
  const push = (tab: Tab, text: string, isAnswer?: boolean) => {
    if (tab._gone.signal.aborted) return
    tab._frames.push(text)
    if (document?.hidden) port2.postMessage(0)
    else gathering ??= setTimeout(flush, Limit.Batch)
    if (isAnswer) return
    tab._amount[0]++
    tab._amount[1] += text.length
    const [count, size] = tab._sent.reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0])
    if (count > Limit.Count || size > Limit.Size) detach(tab, {})
  }

  const dismiss = (tab: Tab, end: End) => {
    post(tab, end)
    tab._channel.close()
    tab._gone.abort()
  }

  const detach = (tab: Tab, end: End) => {
    dismiss(tab, end)
    for (const [id, each] of tabs) if (each === tab) tabs.delete(id)
    for (const name of topics.keys()) leave(name, tab)
  }

  const call = (command: Command, f: (answer: Frame) => void) => {
    answers.set(++lastId, f)
    waiting.push({ ...command, id: lastId })
    if (!pacing) drain()
  }

  /** Sends the commands that wait, as fast as the server takes them. */
  const drain = () => {
    const now = performance.now()
    budget = Math.min(Limit.Burst, budget + (now - counted) * Limit.Rate)
    counted = now
    for (; waiting[0] && budget > 1; budget--) server.send(waiting.shift()!)
    pacing = waiting[0] && setTimeout(drain, 100)
  }

  const receive = (frame: Frame) => {
    const { id, type, topic: name } = frame
    const answer = answers.get(id!)
    answers.delete(id!)
    if (answer) return answer(frame)
    const text = JSON.stringify(frame)
    if (type === "welcome") welcome = text
    if (frame.code && frame.topics) frame.topics.forEach(drop)
    else if (!name) for (const tab of tabs.values()) push(tab, text)
    else
      for (const [tab, ref] of [...(topics.get(name)?._refs ?? [])]) {
        if (frame.time >= ref._until! * 1000) end(name, tab)
        else if (ref._held) ref._held.push(text)
        else if (ref._held === undefined) push(tab, text)
      }
  }

  const wantsOf = ({ _refs }: Topic) => [..._refs.values()].reduce((bits, ref) => bits | ref._wants, 0)

  /** Removes the subscription of a tab. */
  const leave = (name: string, tab: Tab) => {
    const topic = topics.get(name)
    const ref = topic?._refs.get(tab)
    if (!ref) return
    const wants = wantsOf(topic!)
    clearTimeout(ref._timer)
    topic!._refs.delete(tab)
    if (wants !== wantsOf(topic!)) drop(name)
  }

  /** Unsubscribes. The tabs that still want the topic subscribe anew: they have the tokens. */
  const drop = (name: string) => {
    const topic = topics.get(name)
    if (!topic) return
    topics.delete(name)
    call({ type: "unsubscribe", topics: [name] }, () => {})
    for (const [tab, ref] of topic._refs) {
      clearTimeout(ref._timer)
      again(name, tab)
    }
  }

  /** Has a tab subscribe anew. */
  const again = (name: string, tab: Tab) => push(tab, JSON.stringify({ type: "unsubscribed", topics: [name], code: "unavailable", retry: true }))

  /** Ends the subscription of a tab. It may subscribe anew if the server still accepts its token. */
  const end = (name: string, tab: Tab) => {
    again(name, tab)
    leave(name, tab)
  }

  const subscribe = (tab: Tab, command: any) => {
    const { id, since, last, mode, presence, token } = command
    const confirmed: Record<string, object> = {}
    const refused: Record<string, object | undefined> = {}
    const entries = command.topics.map((name: string) => {
      const topic: Topic = topics.get(name) ?? { _refs: new Map() }
      const ref: Ref = { _wants: Want.Any | (mode === "latest" ? 0 : Want.All) | (presence ? Want.Presence : 0), _until: untilOf(token), _held: null }
      topics.set(name, topic)
      topic._refs.set(tab, ref)
      return { name, topic, ref }
    }) as { name: string; topic: Topic; ref: Ref }[]
    let failure: Frame | undefined
    let left = 1

    const isCurrent = ({ name, topic, ref }: (typeof entries)[0]) => topics.get(name) === topic && topic._refs.get(tab) === ref

    /** An answer has come. With the last one, the tab gets its own. */
    const done = () => {
      if (--left) return
      const good = failure ? [] : entries.filter((entry) => isCurrent(entry) && confirmed[entry.name])
      for (const entry of entries) if (!good.includes(entry) && isCurrent(entry)) leave(entry.name, tab)
      push(
        tab,
        JSON.stringify(
          failure ? { ...failure, id } : { type: "subscribed", id, topics: Object.fromEntries(good.map(({ name }) => [name, confirmed[name]])), refused },
        ),
        true,
      )
      for (const { name, ref } of good) {
        const { _held, _missed = [], _until } = ref
        ref._held = undefined
        for (const message of _missed) push(tab, JSON.stringify(message), true)
        if (ref._hasMore) {
          end(name, tab) // It goes on from there.
          continue
        }
        for (const text of _held!) push(tab, text)
        const rest = _until! * 1000 - Date.now()
        if (_until) ref._timer = setTimeout(() => end(name, tab), rest > 0 ? Math.min(rest, Limit.Timer) : Limit.Again)
      }
    }

    /** Reads what the tab missed of a topic that others have. */
    const catchUp = (name: string, ref: Ref, from: Position | undefined, live: object) => {
      left++
      call({ type: "history", topic: name, since: from, limit: from ? Limit.Page : last, token }, (answer) => {
        const { code, messages, position, recovered } = answer
        if (code) refused[name] = answer
        else if (recovered) {
          ref._missed = messages
          ref._hasMore = answer.more
          confirmed[name] = { position: from ?? before(messages[0]?.position) ?? position, recovered, replay: messages.length }
        } else confirmed[name] = { ...live, recovered }
        done()
      })
    }

    for (const isAll of [true, false]) {
      const part = entries.filter(({ topic }) => !!(wantsOf(topic) & Want.All) === isAll)
      if (!part[0]) continue
      left++
      call({ ...command, topics: part.map(({ name }) => name), mode: isAll ? "all" : "latest" }, (answer) => {
        if (answer.code) failure = answer
        for (const { name, topic, ref } of part) {
          const live = answer.topics?.[name]
          const from = since?.[name]
          refused[name] = answer.refused?.[name]
          if (!live) continue
          ref._held = []
          if (topic._isHeld && (from ? isAfter(live.position, from) : last)) catchUp(name, ref, from, live)
          else confirmed[name] = topic._isHeld && from ? { ...live, position: from } : live
          topic._isHeld = true
        }
        done()
      })
    }
    done()
  }

  const server = transport.open({
    frame: receive,
    end({ code, after }) {
      for (const tab of tabs.values()) dismiss(tab, { code, after } as End)
      tabs.clear()
      welcome = undefined
    },
  })

  return {
    _join(id) {
      const tab: Tab = tabs.get(id) ?? { _channel: new BroadcastChannel(id), _frames: [], _amount: [0, 0], _sent: [], _gone: new AbortController() }
      const { _channel: channel } = tab
      if (!tabs.has(id)) locks.request(id, { signal: tab._gone.signal }, () => detach(tab, {})).catch(() => {})
      tabs.set(id, tab)
      channel.postMessage([term] satisfies ToTab)
      if (welcome) push(tab, welcome)
      channel.onmessage = ({ data: [to, command, isReceipt] }: { data: ToLeader }) => {
        if (to !== term) return
        if (isReceipt) tab._sent.shift()
        else if (!command) channel.postMessage([term] satisfies ToTab)
        else if (command.type === "subscribe") subscribe(tab, command)
        else if (command.type === "unsubscribe") (command.topics as string[]).forEach((name) => leave(name, tab))
        else call(command, (answer) => push(tab, JSON.stringify({ ...answer, id: command.id }), true))
      }
    },
    _close() {
      clearTimeout(gathering)
      clearTimeout(pacing)
      port1.close()
      server.close()
      for (const { _channel, _gone } of tabs.values()) {
        _channel.close()
        _gone.abort()
      }
      for (const { _refs } of topics.values()) for (const { _timer } of _refs.values()) clearTimeout(_timer)
    },
  }
}

/** Returns when subscriptions with a token end, in seconds since 1970. */
const untilOf = (token = ""): number | undefined => {
  try {
    return JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/"))).until
  } catch {
    return // The server refuses it.
  }
}

/** Returns a place right before a message, and after the message before it. */
const before = (position?: Position): string | undefined => position?.replace(/\d+$/, (offset) => `${BigInt(offset) - 1n}`)
