import { bytesOf, halfMistake, patternMistake, show, textMistake, topicMistake } from "./text.js"

/** subscribe: read messages; broadcast: publish them. */
export type Scope = "subscribe" | "broadcast"

/** Topics that a token allows. */
export type Rights = {
  topics?: readonly string[] | undefined
  /** Beginnings of topics followed by `*`. `["chat:*"]` allows every topic that begins with `chat:`. */
  patterns?: readonly string[] | undefined
}

/** What a token says. It allows at least one topic or pattern. */
export type Claims = {
  /** The user: a string of at most 255 bytes. */
  sub: string
  /** What the token allows on topic, topics and patterns; by default "subscribe". */
  scope?: Scope | readonly Scope[] | undefined
  topic?: string | undefined
  /** At most 1,000 in all lists. */
  topics?: readonly string[] | undefined
  /** Beginnings of topics followed by `*`, at most 100 in all lists. `*` alone is for the scope "broadcast" only. */
  patterns?: readonly string[] | undefined
  /** What the token allows to subscribe to, in addition. */
  subscribe?: Rights | undefined
  /** What the token allows to publish to, in addition. */
  broadcast?: Rights | undefined
  /** For how many seconds from now the server accepts the token, by default 3,600. Subscriptions outlive it. */
  expiresIn?: number | undefined
  /** When subscriptions made with the token end; by default never. */
  until?: Date | undefined
  /** What the other members of a topic see of the user: a JSON object of at most 1 KiB. */
  info?: object | undefined
  /** A name for the token, by which it can be revoked alone: 1 to 255 bytes. */
  jti?: string | undefined
} & ({ topic: string } | { topics: readonly string[] } | { patterns: readonly string[] } | { subscribe: Rights } | { broadcast: Rights })

const enum Limit {
  Topics = 1000,
  Patterns = 100,
  /** The size of the claim info in bytes. */
  Info = 1024,
  /** The default of expiresIn. */
  Lifetime = 3600,
  /** Ten years. A larger number is a time, or is in milliseconds. */
  LongestLifetime = 315_360_000,
}

const NAMES = ["sub", "topic", "topics", "patterns", "subscribe", "broadcast", "scope", "expiresIn", "until", "info", "jti"]
const SCOPES = ["subscribe", "broadcast"]

/** @internal Returns the claims as the server reads them. For claims that no server accepts it throws an error. */
export const encodeClaims = (claims: Claims): object => {
  if (!isObject(claims)) throw new TypeError(`claims is ${show(claims)}; use an object with sub and topic`)
  for (const name of Object.keys(claims))
    if (!NAMES.includes(name)) throw new TypeError(`claims.${name} is unknown; the claims are ${NAMES.join(", ")}`)
  const mistake = textMistake(claims.sub)
  if (mistake) throw new TypeError(`claims.sub ${mistake}`)
  const iat = Math.floor(Date.now() / 1000)
  return {
    sub: claims.sub,
    ...rightsOf(claims),
    iat,
    exp: iat + lifetimeOf(claims),
    until: untilOf(claims),
    info: infoOf(claims),
    jti: nameOf("claims.jti", claims.jti),
  }
}

const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value)

/** Returns the claims about scopes and topics. */
const rightsOf = (claims: Claims): object => {
  const { topic, topics, patterns, subscribe, broadcast, scope } = claims
  const mistake = topic === undefined ? undefined : topicMistake(topic)
  if (mistake) throw new TypeError(`claims.topic ${mistake}`)
  const every = listsOf({ topics, patterns }, "")
  if (topic !== undefined) every.topics = [...new Set([topic, ...(every.topics ?? [])])]
  const own = { subscribe: partOf(subscribe, "subscribe"), broadcast: partOf(broadcast, "broadcast") }
  const all = [every, own.subscribe, own.broadcast]
  const count = (name: keyof Rights) => all.reduce((sum, rights) => sum + (rights?.[name]?.length ?? 0), 0)
  const names = count("topics")
  if (!names && !count("patterns")) throw new TypeError("claims has no topic; use claims.topic with a string, or claims.topics with a list")
  if (names > Limit.Topics) throw new RangeError(`claims.topics has ${names} topics; use at most ${Limit.Topics}`)
  if (count("patterns") > Limit.Patterns) throw new RangeError(`claims.patterns has ${count("patterns")} patterns; use at most ${Limit.Patterns}`)
  const isNeeded = every.topics || every.patterns || scope !== undefined
  const words = isNeeded ? scopeOf(claims) : undefined
  if (own.subscribe?.patterns?.includes("*") || (every.patterns?.includes("*") && words !== "broadcast"))
    throw new TypeError('claims.patterns has "*", which nobody may subscribe to; use it with the scope "broadcast" or in claims.broadcast')
  const [first, second] = every.topics ?? []
  return { scope: words, ...(second === undefined ? { topic: first } : { topics: every.topics }), patterns: every.patterns, ...own }
}

const partOf = (rights: Rights | undefined, name: string): Rights | undefined => {
  if (rights === undefined) return
  if (!isObject(rights)) throw new TypeError(`claims.${name} is ${show(rights)}; use an object with topics, patterns, or both`)
  for (const each of Object.keys(rights))
    if (each !== "topics" && each !== "patterns") throw new TypeError(`claims.${name}.${each} is unknown; use topics and patterns`)
  return listsOf(rights, name + ".")
}

/** Returns the lists without duplicates, and without those that are empty. */
const listsOf = ({ topics, patterns }: Rights, path: string): Rights => {
  const names = listOf(topics, path + "topics")
  const beginnings = listOf(patterns, path + "patterns")
  const check = (list: readonly string[], kind: string, mistakeOf: (text: string) => string | undefined) =>
    list.forEach((text, i) => {
      const mistake = mistakeOf(text)
      if (mistake) throw new TypeError(`claims.${path}${kind}[${i}] ${mistake}`)
    })
  check(names, "topics", topicMistake)
  check(beginnings, "patterns", patternMistake)
  const orNone = (list: readonly string[]) => (list[0] === undefined ? undefined : [...new Set(list)])
  return { topics: orNone(names), patterns: orNone(beginnings) }
}

const listOf = (list: unknown, name: string): readonly string[] => {
  if (list !== undefined && !Array.isArray(list)) throw new TypeError(`claims.${name} is ${show(list)}; use a list of strings`)
  return list ?? []
}

const scopeOf = ({ scope = "subscribe" }: Claims): string => {
  const words = [scope].flat() as string[]
  const wrong = words.find((word) => !SCOPES.includes(word))
  if (wrong !== undefined || !words[0])
    throw new TypeError(`claims.scope is ${words[0] === undefined ? "empty" : show(wrong)}; use "subscribe", "broadcast" or a list of both`)
  return [...new Set(words)].join(" ")
}

/** Returns expiresIn in whole seconds, so that exp - iat exceeds no limit that expiresIn keeps. */
const lifetimeOf = ({ expiresIn = Limit.Lifetime }: Claims): number => {
  if (typeof expiresIn !== "number" || !(expiresIn > 0 && expiresIn <= Limit.LongestLifetime))
    throw new RangeError(`claims.expiresIn is ${show(expiresIn)}; use a number of seconds from now, above 0 and up to ten years, such as 3600`)
  return Math.ceil(expiresIn)
}

const untilOf = ({ until }: Claims): number | undefined => {
  if (until === undefined) return
  if (!(until instanceof Date) || isNaN(+until))
    throw new TypeError(`claims.until is ${show(until)}; use a Date, such as new Date(Date.now() + 600_000)`)
  if (+until <= Date.now()) throw new RangeError(`claims.until is ${until.toISOString()}, which is over; use a time in the future`)
  return +until / 1000
}

/** @internal Returns a name. If the name is not valid, it throws an error that begins with the place. */
export const nameOf = (place: string, name: string | undefined): string | undefined => {
  if (name === undefined) return
  const mistake = name === "" ? "is empty; use a name of 1 to 255 bytes" : textMistake(name)
  if (mistake) throw new TypeError(`${place} ${mistake}`)
  return name
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
