import { bytesOf, halfMistake, show, textMistake, topicMistake } from "./text.js"

/** subscribe: read messages; broadcast: publish them. */
export type Scope = "subscribe" | "broadcast"

/** What a token says. */
export type Claims = {
  /** The user: a string of at most 255 bytes. */
  sub: string
  /** What the token allows; by default "subscribe". */
  scope?: Scope | readonly Scope[] | undefined
  /** For how many seconds from now the server accepts the token, by default 3,600. Subscriptions outlive it. */
  expiresIn?: number | undefined
  /** When subscriptions made with the token end; by default never. */
  until?: Date | undefined
  /** What the other members of a topic see of the user: a JSON object of at most 1 KiB. */
  info?: object | undefined
} & (
  | {
      /** The topic that the token allows. */
      topic: string
      topics?: readonly string[] | undefined
    }
  | {
      topic?: string | undefined
      /** The topics that the token allows, at most 1,000. */
      topics: readonly string[]
    }
)

const enum Limit {
  Topics = 1000,
  /** The size of the claim info in bytes. */
  Info = 1024,
  /** The default of expiresIn. */
  Lifetime = 3600,
  /** Ten years. A larger number is a time, or is in milliseconds. */
  LongestLifetime = 315_360_000,
}

const NAMES = ["sub", "topic", "topics", "scope", "expiresIn", "until", "info"]
const SCOPES = ["subscribe", "broadcast"]

/** @internal Returns the claims as the server reads them. For claims that no server accepts it throws an error. */
export const encodeClaims = (claims: Claims): object => {
  if (!isObject(claims)) throw new TypeError(`claims is ${show(claims)}; use an object with sub and topic`)
  for (const name of Object.keys(claims))
    if (!NAMES.includes(name)) throw new TypeError(`claims.${name} is unknown; the claims are ${NAMES.join(", ")}`)
  const mistake = textMistake(claims.sub)
  if (mistake) throw new TypeError(`claims.sub ${mistake}`)
  return {
    sub: claims.sub,
    scope: scopeOf(claims),
    ...topicsOf(claims),
    exp: expiryOf(claims),
    until: untilOf(claims),
    info: infoOf(claims),
  }
}

const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value)

const scopeOf = ({ scope = "subscribe" }: Claims): string => {
  const words = [scope].flat() as string[]
  const wrong = words.find((word) => !SCOPES.includes(word))
  if (wrong !== undefined || !words[0])
    throw new TypeError(`claims.scope is ${words[0] === undefined ? "empty" : show(wrong)}; use "subscribe", "broadcast" or a list of both`)
  return [...new Set(words)].join(" ")
}

const topicsOf = ({ topic, topics }: Claims): object => {
  if (topics !== undefined && !Array.isArray(topics)) throw new TypeError(`claims.topics is ${show(topics)}; use a list of strings, or claims.topic for one`)
  const all = [...new Set([...(topic === undefined ? [] : [topic]), ...(topics ?? [])])]
  for (const name of all) {
    const mistake = topicMistake(name)
    const at = topics?.indexOf(name) ?? -1
    if (mistake) throw new TypeError(`claims.${at < 0 ? "topic" : `topics[${at}]`} ${mistake}`)
  }
  if (!all[0]) throw new TypeError("claims has no topic; use claims.topic with a string, or claims.topics with a list")
  if (all.length > Limit.Topics) throw new RangeError(`claims.topics has ${all.length} topics; use at most ${Limit.Topics}`)
  return all[1] === undefined ? { topic: all[0] } : { topics: all }
}

const expiryOf = ({ expiresIn = Limit.Lifetime }: Claims): number => {
  if (typeof expiresIn !== "number" || !(expiresIn > 0 && expiresIn <= Limit.LongestLifetime))
    throw new RangeError(`claims.expiresIn is ${show(expiresIn)}; use a number of seconds from now, above 0 and up to ten years, such as 3600`)
  return Math.ceil(Date.now() / 1000 + expiresIn)
}

const untilOf = ({ until }: Claims): number | undefined => {
  if (until === undefined) return
  if (!(until instanceof Date) || isNaN(+until))
    throw new TypeError(`claims.until is ${show(until)}; use a Date, such as new Date(Date.now() + 600_000)`)
  if (+until <= Date.now()) throw new RangeError(`claims.until is ${until.toISOString()}, which is over; use a time in the future`)
  return +until / 1000
}

const infoOf = ({ info }: Claims): object | undefined => {
  if (info === undefined) return
  let text: string | undefined
  try {
    text = JSON.stringify(info)
  } catch (cause) {
    throw new TypeError("claims.info is not JSON; use an object that JSON.stringify can encode", { cause })
  }
  if (text?.[0] !== "{") throw new TypeError(`claims.info is ${show(info)}; use an object like {name: "Ann"}`)
  const { length } = bytesOf(text)
  if (length > Limit.Info) throw new RangeError(`claims.info has ${length} bytes as JSON; use at most ${Limit.Info}`)
  return JSON.parse(text, (name, value) => {
    const half = halfMistake(name) ?? (typeof value === "string" ? halfMistake(value) : undefined)
    if (half) throw new TypeError("claims.info has " + half)
    return value
  })
}
