// Judges what subscriptions delivered.

import assert from "node:assert/strict"

import type { Event, Position } from "notiflux"

/** The log of a topic, as somebody saw it who was never disconnected. */
export class Oracle {
  readonly #places = new Map<Position, number>()
  readonly #log: { position: Position; data: unknown }[] = []
  readonly #counts = new Map<unknown, number>()

  constructor(start: Position) {
    this.#log.push({ position: start, data: undefined })
    this.#places.set(start, 0)
  }

  /** Adds the next message of the topic. */
  add(position: Position, data: unknown): void {
    this.#places.set(position, this.#log.push({ position, data }) - 1)
    this.#counts.set(data, this.count(data) + 1)
  }

  get head(): Position {
    return this.#log.at(-1)!.position
  }

  /** How often a message is in the log. */
  count(data: unknown): number {
    return this.#counts.get(data) ?? 0
  }

  at(position: Position): unknown {
    return this.#log[this.#places.get(position) ?? -1]?.data
  }

  /** Checks that a subscription delivered each message once and in order, unless a gap lies between. It returns the number of gaps. */
  check(events: Event[], isToTheHead = true): number {
    let place: number | undefined
    let gaps = 0
    for (const [i, event] of events.entries()) {
      const require = (condition: boolean) => condition || assert.fail(before())
      const before = () => JSON.stringify(events.slice(Math.max(0, i - 5), i + 1), (name, value) => (name === "data" ? undefined : value))
      if (event.type === "disconnected") continue
      assert.ok("position" in event, event.type)
      const next = this.#places.get(event.position)
      assert.notEqual(next, undefined, `${event.type} at ${event.position}, which is no place in the log`)
      if (event.type === "message") {
        require(next === place! + 1)
        assert.deepEqual(event.data, this.#log[next!]!.data)
      } else if (event.type === "gap") {
        require(next! >= place!)
        gaps++
      } else if (event.type === "subscribed" && place !== undefined) {
        // The topic may begin earlier than a subscription that has read on in the history.
        if (event.recovered) require(next! <= place)
        continue // Otherwise the gap follows.
      }
      place = next
    }
    if (isToTheHead) assert.equal(this.#log[place!]?.position, this.head, "the subscription does not have the head")
    return gaps
  }
}
