import type { Event, Position } from "./types.js"

/** An event on its way to the subscriber. */
export interface Entry {
  _event: Event
  _size?: number
  /** The positions of the topic before and after the event, if there are any. */
  _from?: Position | undefined
  _to?: Position | undefined
}

const enum Limit {
  /** The length of what waits behind the first event, as JSON. */
  Size = 1 << 20,
}

const isMove = (entry: Entry | undefined): boolean => /message|skipped/.test(entry?._event.type!)

/** Adds an entry to a queue. It reports false, and adds nothing, if the queue is full. */
export const put = (queue: Entry[], entry: Entry, limit: number, isLatest?: boolean): boolean => {
  if (isLatest && isMove(entry)) {
    // The new entry makes those before it obsolete.
    const to = entry._from
    let from = to
    while (isMove(queue.at(-1))) from = queue.pop()!._from
    if (from !== to) queue.push({ _event: { type: "skipped", topic: entry._event.topic, from: from!, to: to! }, _from: from, _to: to })
  }
  if (queue[0]) {
    entry._size = JSON.stringify(entry._event).length
    if (queue.length >= limit || queue.reduce((sum, { _size = 0 }) => sum + _size, entry._size) > Limit.Size) return false
  }
  return !!queue.push(entry)
}
