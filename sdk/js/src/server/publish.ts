import type { NotifluxError } from "../error.js"
import type { CallOptions, Position } from "../types.js"
import { importKey, type PrivateKey } from "./key.js"
import { fault, type Failure, type Post, post } from "./post.js"
import { sign, type SignOptions } from "./sign.js"
import { bytesOf, show, topicMistake } from "./text.js"

/** A message to publish. */
export interface Publication {
  topic: string
  /** Any JSON value. */
  message: unknown
  /**
   * Identifies the message: for two minutes the server publishes it once. By default a random
   * key, so that the retries of one call publish once. Set it if your program may publish the
   * message again after a crash.
   */
  key?: string | undefined
  /** The name of a connection that does not get the message: `connection` of a client. */
  exclude?: string | undefined
}

/** What became of one message of several. */
export type Outcome =
  | { topic: string; position: Position; error?: undefined }
  | { topic: string; position?: undefined; error: NotifluxError }

/** How the server knows that the program may publish. */
export type Credentials =
  | {
      /** A token with the scope broadcast. */
      token: string
      privateKey?: undefined
    }
  | ({
      /** Signs tokens for the topics of the messages. */
      privateKey: PrivateKey
      /** The user of these tokens, by default "server". */
      sub?: string | undefined
      token?: undefined
    } & SignOptions)

/** The options of `publish`. A timeout is at most 100,000 ms: the server soon forgets the keys of messages. */
export type PublishOptions = CallOptions &
  Credentials & {
    /** Takes the place of the global fetch. */
    fetch?: typeof fetch | undefined
  }

const enum Limit {
  /** How long a call may take, in milliseconds. The server knows a key for 120 s. */
  Timeout = 100_000,
  /** What the server takes in one request. */
  Messages = 1000,
  Bytes = 1 << 20,
  /** The topics of a request, in bytes. A token for them has less than 8 KiB. */
  TopicBytes = 3000,
  /** For how many seconds a token is valid. It outlives the call even if clocks differ. */
  TokenLifetime = 300,
}

/** A message on its way. */
interface Item {
  topic: string
  body: string
  /** In bytes. */
  size: number
  outcome?: Outcome
  /** Of the last attempt. */
  error?: NotifluxError
  /** How many epochs of the server were known when it became unknown whether the message is published. */
  doubt?: number
}

/** The epochs of each server. After a new one the server does not know the keys of before. */
const epochsOf = new Map<string, Set<string>>()

/**
 * Publishes a message to the server at a URL like https://push.example.com, and returns its
 * position. It retries for up to 100 s with one key, so that the message is published once. If
 * it then is unknown whether it was published, it rejects with the code outcome_unknown.
 */
export async function publish(url: string | URL, publication: Publication, options: PublishOptions): Promise<Position>
/**
 * Publishes messages in as few requests as possible, and returns what became of each. One that
 * the server refuses does not stop the others. They are published in their order, but one that
 * has to be sent again may come after later ones.
 */
export async function publish(url: string | URL, publications: readonly Publication[], options: PublishOptions): Promise<Outcome[]>
export async function publish(
  url: string | URL,
  publications: Publication | readonly Publication[],
  options: PublishOptions,
): Promise<Position | Outcome[]> {
  const address = addressOf(url)
  const credentials = await checkOptions(options)
  const items = [publications].flat().map(encode)
  await deliverAll(items, address, credentials, options)
  const outcomes = items.map(({ outcome }) => outcome!)
  if (Array.isArray(publications)) return outcomes
  const [{ error, position }] = outcomes as [Outcome]
  if (error) throw error
  return position
}

/** Returns the address to send messages to. It never shows a URL that may have a password. */
const addressOf = (url: string | URL): string => {
  let parsed
  try {
    parsed = new URL(url)
  } catch {
    // Reported below.
  }
  if (!parsed || !/^https?:$/.test(parsed.protocol) || parsed.username || parsed.password || parsed.search || parsed.hash)
    throw new TypeError("the URL is not that of a server; use one like https://push.example.com")
  return parsed.href.replace(/\/*$/, "/broadcast")
}

const checkOptions = async (options: PublishOptions): Promise<Credentials> => {
  const { token, privateKey, timeout = Limit.Timeout } = options ?? {}
  if ((token === undefined) === (privateKey === undefined))
    throw new TypeError(`the options have ${token === undefined ? "no token and no privateKey" : "a token and a privateKey"}; use one of the two`)
  if (token !== undefined && (typeof token !== "string" || !/^[\w.~+/-]+=*$/.test(token)))
    throw new TypeError("options.token is not a token; use a string that sign returned")
  if (typeof timeout !== "number" || !(timeout > 0 && timeout <= Limit.Timeout))
    throw new RangeError(`options.timeout is ${show(timeout)}; use a number of milliseconds above 0, up to ${Limit.Timeout}`)
  if (typeof privateKey !== "string" && !(privateKey instanceof Uint8Array)) return options
  return { ...options, privateKey: await importKey(privateKey) } as Credentials
}

const encode = ({ topic, message, key, exclude }: Publication): Item => {
  const fail = (error: NotifluxError): Item => ({ topic, body: "", size: 0, outcome: { topic, error } })
  const mistake = topicMistake(topic)
  if (mistake) return fail(fault("topic_invalid", `the topic ${mistake}`, { topic }))
  try {
    const body = JSON.stringify({ topic, message, key: key ?? crypto.randomUUID(), exclude })
    return { topic, body, size: bytesOf(body).length }
  } catch (cause) {
    return fail(fault("malformed", "the message is not JSON; use a value that JSON.stringify can encode", { topic, cause }))
  }
}

/** Gives each item its outcome. It rejects only if the caller's signal is aborted or the key cannot sign. */
const deliverAll = async (all: Item[], url: string, credentials: Credentials, options: PublishOptions): Promise<void> => {
  const { signal, timeout = Limit.Timeout, fetch = globalThis.fetch } = options
  signal?.throwIfAborted()
  const end = new AbortController()
  const deadline = Date.now() + timeout
  const timer = setTimeout(() => end.abort(new Error("the time of the call is over")), timeout)
  const abort = () => end.abort(signal!.reason)
  signal?.addEventListener("abort", abort)
  try {
    const left = all.filter(({ outcome }) => !outcome)
    while (left[0]) {
      const items = takeRequest(left)
      const token = credentials.token ?? (await tokenFor(items, credentials))
      await deliver(items, { fetch, url, token, signal: end.signal }, deadline, signal)
    }
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener("abort", abort)
  }
}

/** Takes the items of the next request from the front of a list. */
const takeRequest = (left: Item[]): Item[] => {
  const topics = new Set<string>()
  let bytes = "[]".length
  let topicBytes = 0
  let count = 0
  for (const { topic, size } of left) {
    bytes += size + ",".length
    if (!topics.has(topic)) topicBytes += bytesOf(JSON.stringify(topic)).length + ",".length
    topics.add(topic)
    if (count && (count === Limit.Messages || bytes > Limit.Bytes || topicBytes > Limit.TopicBytes)) break
    count++
  }
  return left.splice(0, count)
}

const tokenFor = (items: Item[], { privateKey, sub = "server", ...options }: Exclude<Credentials, { token: string }>): Promise<string> => {
  const topics = items.map(({ topic }) => topic)
  return sign({ sub, scope: "broadcast", topics, expiresIn: Limit.TokenLifetime }, privateKey, options)
}

/** Sends items until each has its outcome, or there is no time for another attempt. */
const deliver = async (items: Item[], request: Post, deadline: number, signal: AbortSignal | undefined): Promise<void> => {
  const epochs = epochsOf.get(request.url) ?? new Set()
  epochsOf.set(request.url, epochs)
  for (let failures = 0; !request.signal.aborted && Date.now() < deadline; ) {
    const known = epochs.size || Infinity
    const answer = await post(
      request,
      items.map(({ body }) => body),
    )
    signal?.throwIfAborted()
    if (!Array.isArray(answer) && answer.isTooMuch && items[1]) {
      const half = Math.ceil(items.length / 2)
      await deliver(items.slice(0, half), request, deadline, signal)
      return deliver(items.slice(half), request, deadline, signal)
    }
    items.forEach((item, i) => {
      const result = Array.isArray(answer) ? answer[i]! : answer
      if ("error" in result) return fail(item, result, known)
      item.outcome = { topic: item.topic, position: result.position }
      epochs.add(epochOf(result.position))
    })
    items = items.filter(({ outcome }) => !outcome)
    if (!items[0]) return
    const wait = backoff(failures++) + (Array.isArray(answer) ? 0 : answer.after)
    if (Date.now() + wait >= deadline) break
    await sleep(wait, request.signal)
    signal?.throwIfAborted()
    // After a restart the server would publish a message of before again.
    for (const item of items) if (epochs.size > item.doubt!) giveUp(item)
    items = items.filter(({ outcome }) => !outcome)
    if (!items[0]) return
  }
  items.forEach(giveUp)
}

/** Notes that an attempt failed, and gives up if another one would fail too. */
const fail = (item: Item, { error, isDoubtful }: Failure, known: number): void => {
  item.error = error
  if (isDoubtful) item.doubt ??= known
  if (!error.retry) giveUp(item)
}

/** Ends the attempts. What the last one says does not hide that an earlier one may have published the message. */
const giveUp = (item: Item): void => {
  const { topic, doubt, error: cause = fault("timeout", "there was no time to send the message", { retry: true }) } = item
  const { code, message, status, retry } = cause
  const error =
    doubt === undefined
      ? fault(code, message, { topic, status, retry, cause: cause.cause })
      : fault("outcome_unknown", `it is unknown whether the message was published; the last attempt failed: ${message}`, { topic, status, retry: true, cause })
  item.outcome = { topic, error }
}

const epochOf = (position: Position): string => position.slice(0, position.lastIndexOf(":"))

/** Returns how long to wait after n failures before: full jitter, in milliseconds. */
const backoff = (n: number): number => Math.random() * Math.min(30_000, 500 * 2 ** n)

const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener("abort", done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener("abort", done)
  })
