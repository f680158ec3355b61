import { pause } from "./retry.js"
import type { Code, Need } from "./types.js"

const enum Limit {
  /** How long a request for a token may take, in milliseconds. */
  Timeout = 30_000,
}

type Scope = Need["scope"]

/** The token for a scope and topic; null: there is none; undefined: the source failed, and may be asked again. */
export type Grant = Promise<string | null | undefined>

/** How the server refused a token. */
export interface Refusal {
  code: Code
  message: string
  _grant: Grant
}

/** The tokens of a client. */
export interface Tokens {
  /** Returns a token for a scope and topic, and keeps it. The source is told why the last one was refused. */
  _get(scope: Scope, topic: string, refusal?: Refusal): Grant
}

/** Returns the tokens that come from a source. */
export const createTokens = (source: (need: Need) => any, log: (event: string, facts: object) => void): Tokens => {
  /** By scope and topic; topics that were asked for together share one. */
  const grants = new Map<string, Grant>()
  /** What the source is asked for next, by scope. */
  const needs: { [scope in Scope]?: [need: Omit<Need, "signal">, grant: Grant] | undefined } = {}

  let failures = 0

  const ask = async (need: Omit<Need, "signal">) => {
    await undefined // Others may need a token too.
    const { scope, topics } = need
    needs[scope] = undefined
    const signal = AbortSignal.timeout(Limit.Timeout)
    const late = new Promise((_, reject) => (signal.onabort = reject))
    let token: any
    try {
      token = (await Promise.race([source({ ...need, signal }), late])) ?? null
      failures = 0
    } catch (error) {
      log("token", { error })
      await pause(failures++)
    }
    if (token == null) for (const topic of topics) grants.delete(scope + topic)
    return token
  }

  return {
    _get(scope, topic, refusal) {
      const kept = grants.get(scope + topic)
      if (kept && kept !== refusal?._grant) return kept
      const first: Omit<Need, "signal"> = { scope, topics: [] }
      const [need, grant] = (needs[scope] ??= [first, ask(first)])
      need.topics.push(topic)
      if (refusal) need.code = refusal.code
      grants.set(scope + topic, grant)
      return grant
    },
  }
}
