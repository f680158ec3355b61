// A transport that a test plays the server of.

import assert from "node:assert/strict"
import type { TestContext } from "node:test"

import { type Command, type Connection, connect, type Frame, type Options, type Receiver, type Transport } from "notiflux"

/** settle lets everything happen that waits for nothing but the event loop. */
export const settle = async (): Promise<void> => {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** One connection of a client. */
export class FakeConnection implements Connection {
  readonly commands: Command[] = []
  isClosed = false

  constructor(readonly receiver: Receiver) {}

  send(command: Command): void {
    assert.ok(!this.isClosed, "a command on a closed connection")
    this.commands.push(JSON.parse(JSON.stringify(command)))
  }

  close(): void {
    this.isClosed = true
  }

  frame(frame: Frame): void {
    if (!this.isClosed) this.receiver.frame(frame)
  }

  welcome(more: object = {}): void {
    this.frame({ type: "welcome", connection: "c1", version: "v", limits: { command: 81920, commandsPerSecond: 100 }, ...more })
  }

  end(end: object = {}): void {
    if (this.isClosed) return
    this.isClosed = true
    this.receiver.end(end)
  }

  /** Returns the only command that was sent since the last call. */
  async command(type: string): Promise<any> {
    await settle()
    const [command, ...more] = this.commands.splice(0)
    assert.equal(command?.type, type, JSON.stringify([command, ...more]))
    assert.deepEqual(more, [])
    return command
  }

  async noCommand(): Promise<void> {
    await settle()
    assert.deepEqual(this.commands, [])
  }

  /** Answers a subscription: all of its topics from a position on. */
  confirm({ id, topics }: any, position = "E:0", answer: object = {}): void {
    const one = { position, recovered: true, replay: 0, ...answer }
    this.frame({ type: "subscribed", id, topics: Object.fromEntries(topics.map((topic: string) => [topic, one])) })
  }

  message(topic: string, offset: number, data: unknown = offset): void {
    this.frame({ type: "message", topic, position: `E:${offset}`, time: 1, data })
  }
}

/** A transport with the connections that a client has opened. */
export class FakeTransport implements Transport {
  readonly opened: FakeConnection[] = []

  open(receiver: Receiver): FakeConnection {
    this.opened.push(new FakeConnection(receiver))
    return this.last
  }

  get last(): FakeConnection {
    return this.opened.at(-1)!
  }
}

/** Returns a client on a fake transport. Time stands still, and random numbers are 0.5. */
export const fakeClient = (t: TestContext, options: Options = {}) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] })
  t.mock.method(Math, "random", () => 0.5)
  const transport = new FakeTransport()
  const client = connect<any>("http://push.example.com/", { transports: [transport], ...options })
  t.after(() => client.close())
  return {
    client,
    transport,
    /** Lets time pass. */
    async wait(ms: number): Promise<void> {
      await settle()
      t.mock.timers.tick(ms)
      await settle()
    },
  }
}

/** Collects what a loop over a subscription gets, until there is nothing for now. */
export const collect = <E>(subscription: AsyncIterable<E>) => {
  const iterator = subscription[Symbol.asyncIterator]()
  let pending: Promise<IteratorResult<E>> | undefined
  return {
    /** Returns the events that came since the last call. */
    async take(most = Infinity): Promise<E[]> {
      const events: E[] = []
      while (events.length < most) {
        pending ??= iterator.next()
        const result = await Promise.race([pending, settle()])
        if (!result) break
        pending = undefined
        if (result.done) break
        events.push(result.value)
      }
      return events
    },
    iterator,
  }
}

/** Shortens events: messages to their data, others to their type or what matters of them. */
export const brief = (events: any[]): unknown[] =>
  events.map((event) =>
    event.type === "message"
      ? event.data
      : event.type === "gap"
        ? `gap ${event.reason} ${event.position}`
        : event.type === "state"
          ? `state ${event.state} ${event.position}`
          : event.type === "skipped"
            ? `skipped ${event.from} ${event.to}`
            : event.type,
  )
