// What a command of the JSON protocol must be: docs/protocol.md, section 4.

import type { Command } from "../transport.js"

const isText = (value: unknown): value is string =>
  // Control characters, and halves of characters, are not allowed.
  typeof value === "string" && /^[^\p{Cc}\p{Cs}]+$/u.test(value) && new TextEncoder().encode(value).length <= 255

const isNumber = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0

const isPosition = (value: unknown): boolean => {
  const [, offset] = (typeof value === "string" && /^[a-z\d]{1,64}:(0|[1-9]\d*)$/i.exec(value)) || []
  return offset !== undefined && BigInt(offset) < 1n << 64n
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value)

const isSince = (value: unknown, { topics, patterns }: Command): boolean =>
  isObject(value) && ((topics ?? patterns ?? []) as string[]).every((name) => !Object.hasOwn(value, name) || value[name] === null || isPosition(value[name]))

const isNames = (value: unknown): boolean => Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === "string")

type Check = (value: unknown, command: Command) => boolean

const isString = (value: unknown): boolean => typeof value === "string"
const isBoolean = (value: unknown): boolean => typeof value === "boolean"

/** The members of each type; those with a ! are required. */
const MEMBERS: Record<string, Record<string, Check>> = {
  subscribe: {
    topics: isNames,
    patterns: isNames,
    since: isSince,
    last: (value, { patterns }) => isNumber(value) && !(patterns && value),
    mode: (value, { patterns }) => value === "all" || (value === "latest" && !patterns),
    presence: (value, { patterns }) => isBoolean(value) && !(patterns && value),
    token: isString,
  },
  unsubscribe: {},
  broadcast: { "topic!": isString, echo: isBoolean, key: isText, token: isString, exclude: () => false },
  history: { "topic!": isString, since: isPosition, limit: isNumber, token: isString },
  presence: { "topic!": isString, token: isString },
  ping: {},
}

/** Whether a name of a topic is valid. */
export const isTopic = isText

export const isPattern = (text: unknown): text is string => isText(text) && text.endsWith("*")

/** Returns the code with which the server refuses a command as a whole, if it does. */
export const refusal = (command: unknown): string | undefined => {
  if (!isObject(command) || typeof command.type !== "string" || (command.id != null && (!isNumber(command.id) || !Number.isSafeInteger(command.id)))) return "malformed"
  const { type } = command
  if (!Object.hasOwn(MEMBERS, type)) return "unknown_type"
  for (const [name, check] of Object.entries(MEMBERS[type]!)) {
    const value = command[name.replace("!", "")]
    if (value == null ? name.endsWith("!") : !check(value, command as Command)) return "malformed"
  }
  if (/subscribe/.test(type)) {
    const { topics, patterns } = command
    if (type === "subscribe" ? !topics === !patterns : topics && patterns) return "malformed"
    if (type === "unsubscribe" && ((topics !== undefined && !isNames(topics)) || (patterns != null && !isNames(patterns)))) return "malformed"
    if (((topics ?? patterns ?? []) as unknown[]).length > 100) return "too_many"
  }
  if (type === "broadcast" && (command.message === undefined || JSON.stringify(command.message).includes("\\ud"))) return "malformed"
  if ("topic!" in MEMBERS[type]! && !isTopic(command.topic)) return "topic_invalid"
  return undefined
}
