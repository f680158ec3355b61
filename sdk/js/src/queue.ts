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

const isMove = ({ _event }: Entry): boolean => /message|skipped/.test(_event.type)

/** Adds an entry to a queue. It reports false, and adds nothing, if the queue is full. */
export const put = (queue: Entry[], entry: Entry, limit: number, isLatest?: boolean): boolean => {
  if (isLatest && isMove(entry)) {
    // The new entry makes those before it obsolete.
    const [first] = queue.splice(queue.findLastIndex((old) => !isMove(old)) + 1)
    const { _from: to } = entry
    if (first) queue.push({ ...first, _event: { type: "skipped", topic: entry._event.topic, from: first._from!, to: to! }, _to: to })
  }
  if (queue[0]) {
    entry._size = JSON.stringify(entry._event).length
    if (queue.length >= limit || queue.reduce((sum, { _size = 0 }) => sum + _size, entry._size) > Limit.Size) return false
  }
  return !!queue.push(entry)
}
