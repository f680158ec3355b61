import { backoff, sleep } from "./retry.js"
import type { Code, Need } from "./types.js"

const enum Limit {
  /** How long a request for a token may take, in milliseconds. */
  Timeout = 30_000,
}

type Scope = Need["scope"]

/** The token for a scope and topic, or null if there is none. */
export type Grant = Promise<string | null | undefined>

/** The tokens of a client. */
export interface Tokens {
  /** Returns a token for a scope and topic, and keeps it. The source is told why the last one was refused. */
  _get(scope: Scope, topic: string, code?: Code): Grant
  /** Forgets a token, unless another one is kept. */
  _drop(scope: Scope, topic: string, grant: Grant): void
}

/** Returns the tokens that come from a source. */
export const createTokens = (source: (need: Need) => any, log: (event: string, facts: object) => void): Tokens => {
  /** By scope and topic; topics that were asked for together share one. */
  const grants = new Map<string, Grant>()
  /** What the source is asked for next, by scope. */
  const needs: { [scope in Scope]?: [need: Partial<Need>, grant: Grant] | undefined } = {}

  const ask = async (need: Partial<Need>) => {
    await undefined // Others may need a token too.
    needs[need.scope!] = undefined
    for (let failures = 0; ; ) {
      const signal = AbortSignal.timeout(Limit.Timeout)
      const late = new Promise((_, reject) => signal.addEventListener("abort", reject))
      try {
        return await Promise.race([source({ ...need, signal } as Need), late])
      } catch (error) {
        log("token", { error })
        await sleep(backoff(failures++))
      }
    }
  }

  return {
    _get(scope, topic, code) {
      const key = scope + topic
      if (!grants.has(key)) {
        const first: Partial<Need> = { scope, topics: [] }
        const [need, grant] = (needs[scope] ??= [first, ask(first)])
        need.topics!.push(topic)
        if (code) need.code = code
        grants.set(key, grant)
      }
      return grants.get(key)!
    },
    _drop(scope, topic, grant) {
      if (grants.get(scope + topic) === grant) grants.delete(scope + topic)
    },
  }
}
