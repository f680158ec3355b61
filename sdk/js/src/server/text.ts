// What the server requires of text.

/** The length of a topic or a subject, in bytes. */
const LONGEST = 255

export const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text)

/** Describes a wrong value. */
export const show = (value: unknown): string => {
  if (Array.isArray(value)) return "a list"
  if (typeof value === "function") return "a function"
  if (typeof value === "object" && value && !(value instanceof Date)) return "an object"
  const text = typeof value === "string" ? JSON.stringify(value) : String(value)
  return text.length > 60 ? text.slice(0, 60) + "…" : text
}

/** Says that text has half a surrogate pair, which is not Unicode; undefined: it has not. */
export const halfMistake = (text: string): string | undefined =>
  /\p{Surrogate}/u.test(text) ? `${show(text)}, which has half a character; use whole characters` : undefined

/** Says what is wrong with a subject, or with the length or the characters of a topic; undefined: nothing. */
export const textMistake = (text: unknown): string | undefined => {
  if (typeof text !== "string") return `is ${show(text)}; use a string`
  const half = halfMistake(text)
  if (half) return "is " + half
  const { length } = bytesOf(text)
  return length > LONGEST ? `has ${length} bytes; use at most ${LONGEST}` : undefined
}

/** Says what is wrong with a topic; undefined: nothing. */
export const topicMistake = (topic: unknown): string | undefined => {
  if (topic === "") return `is empty; use a name of 1 to ${LONGEST} bytes`
  const mistake = textMistake(topic)
  if (mistake || !/\p{Control}/u.test(topic as string)) return mistake
  return `is ${show(topic)}, which has a control character; use a name without one`
}

/** Says what is wrong with a pattern; undefined: nothing. */
export const patternMistake = (pattern: unknown): string | undefined => {
  if (typeof pattern !== "string" || !pattern.endsWith("*")) return `is ${show(pattern)}; use the beginning of a topic followed by *`
  return pattern === "*" ? undefined : topicMistake(pattern.slice(0, -1))
}
