// One POST /broadcast: docs/protocol.md, section 3.

import { NotifluxError } from "../error.js"
import type { Code, Position } from "../types.js"

/** What the server says about one message. */
export type Result = { position: Position } | Failure

/** Why a message was not published, or perhaps was not. */
export interface Failure {
  error: NotifluxError
  /** Whether the message may have been published all the same. */
  isDoubtful: boolean
}

/** A failure of all messages of a request. */
export interface Refusal extends Failure {
  /** How long to wait at least before the next attempt, in milliseconds. */
  after: number
  /** Whether the server may accept a part of the messages. */
  isTooMuch?: boolean
}

const enum Limit {
  /** How long an answer may take, in milliseconds: longer than a server that works needs. */
  Answer = 15_000,
  /** The slowest network that messages can be sent over, in bytes per millisecond. */
  Speed = 32,
}

/** The codes of failures that may pass. */
const PASSING = ["internal", "over_capacity", "outcome_unknown", "unavailable", "draining", "too_many"]

/** What runtimes say when there was no connection, and so nothing was sent. */
const UNSENT = /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|client error \(Connect\)/
/** What runtimes say when they do not accept the certificate. */
const INSECURE = /_CERT|CERT_|UNABLE_TO_VERIFY|ERR_TLS|peer certificate/

export const fault = (
  code: Code,
  message: string,
  more?: { topic?: string; status?: NotifluxError["status"]; retry?: boolean; cause?: unknown },
): NotifluxError => new NotifluxError(code, more, message)

export interface Post {
  fetch: typeof fetch
  url: string
  token: string
  /** Ends the attempt. */
  signal: AbortSignal
}

/** Sends messages, as JSON, once. It returns a result for each, or the failure of all. */
export const post = async ({ fetch, url, token, signal }: Post, messages: string[]): Promise<Result[] | Refusal> => {
  const isOne = messages.length === 1
  const body = isOne ? messages[0]! : `[${messages.join()}]`
  const cut = new AbortController()
  const stop = () => cut.abort(signal.reason)
  signal.addEventListener("abort", stop)
  const timer = setTimeout(() => cut.abort(new Error("the time for an answer is over")), Limit.Answer + body.length / Limit.Speed)
  let response
  let text
  try {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token}` }
    // Without redirects, the token goes to this server only.
    response = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal: cut.signal })
    text = await response.text()
  } catch (cause) {
    return broken(cause, url)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener("abort", stop)
  }
  const answer = parse(text)
  if (response.status !== 200 && response.status !== 207) return refusal(response, answer, url, token)
  const results = [isOne ? answer : answer ?? []].flat().map(resultOf)
  if (results.length === messages.length && results.every((result) => result !== undefined)) return results
  return { error: fault("bad_answer", `${url} gave an answer that is not one of a notiflux server; use the URL of one`), isDoubtful: true, after: 0 }
}

const parse = (text: string): any => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const resultOf = (entry: any): Result | undefined => {
  const { position, error } = entry ?? {}
  if (typeof position === "string") return { position: position as Position }
  if (typeof error?.code !== "string") return
  const { code, message } = error
  return { error: fault(code, message, { retry: PASSING.includes(code) }), isDoubtful: code === "outcome_unknown" }
}

/** Returns the failure of a request that got no answer, or only a part of one. */
const broken = (cause: unknown, url: string): Refusal => {
  const { code, message, cause: inner } = (cause ?? {}) as any
  const text = [code, message, inner?.code, inner?.message].join()
  const isInsecure = INSECURE.test(text)
  const error = isInsecure
    ? fault("insecure", `the certificate of ${url} is not accepted; use one for this host from an authority that the runtime trusts`, { cause })
    : fault("timeout", `no answer came from ${url}`, { retry: true, cause })
  return { error, isDoubtful: !isInsecure && !UNSENT.test(text), after: 0 }
}

/** Returns the failure of a request that was answered without success. */
const refusal = ({ status, headers }: Response, answer: any, url: string, token: string): Refusal => {
  const retry = status === 429 || status >= 500
  const after = Math.max(0, Number(headers.get("Retry-After")) * 1000 || 0)
  const { code, detail } = answer ?? {}
  if (typeof code !== "string") {
    const right = retry ? "this may pass" : "use the URL of a notiflux server"
    const error = fault("refused", `${url} answered with status ${status}, without a code of notiflux; ${right}`, { status, retry })
    return { error, isDoubtful: status >= 500, after, isTooMuch: status === 413 }
  }
  // A proxy may quote the request.
  const message = String(detail ?? code).replaceAll(token, "REDACTED")
  return {
    error: fault(code, message, { status, retry }),
    isDoubtful: code === "outcome_unknown",
    after,
    isTooMuch: status === 413 || code === "malformed",
  }
}
