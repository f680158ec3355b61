// A browser with tabs, as far as notiflux/tabs uses it. Code that runs in a tab sees that
// tab's document and events, and the locks and channels that all tabs of the profile share.

import { AsyncLocalStorage } from "node:async_hooks"
import type { TestContext } from "node:test"

const here = new AsyncLocalStorage<FakeTab>()

export class FakeTab {
  readonly document = Object.assign(new EventTarget(), { hidden: false })
  readonly window = new EventTarget()
  isCrashed = false
  #late: (() => void)[] | undefined

  constructor(readonly profile: Profile) {}

  /** Runs code in this tab. */
  run<T>(f: () => T): T {
    return here.run(this, f)
  }

  /** Runs code in this tab when it can. */
  task(f: () => void): void {
    if (this.isCrashed) return
    if (this.#late) this.#late.push(f)
    else this.run(f)
  }

  /** Its code stops in the middle. Locks and sockets stay. */
  hang(): void {
    this.#late = []
  }

  /** Its code goes on with all that has happened since. */
  wake(): void {
    const late = this.#late!
    this.#late = undefined
    for (const f of late) this.task(f)
  }

  crash(): void {
    this.isCrashed = true
    this.profile.release(this)
  }

  /** Dispatches an event of the window, such as freeze. */
  event(type: string): void {
    this.run(() => this.window.dispatchEvent(new Event(type)))
  }

  hide(isHidden: boolean): void {
    this.document.hidden = isHidden
    this.run(() => {
      this.document.dispatchEvent(new Event("visibilitychange"))
      this.window.dispatchEvent(new Event("visibilitychange"))
    })
  }
}

interface Claim {
  tab: FakeTab
  isHeld: boolean
  grant(): void
  reject(why: unknown): void
}

/** What the tabs share. Its globals are in place until the test ends. */
export class Profile {
  /** The holder of each lock, and those who wait for it. */
  readonly locks = new Map<string, Claim[]>()
  readonly channels = new Set<Channel>()
  readonly tabs: FakeTab[] = []
  /** What went through channels. */
  readonly posts: { from: FakeTab; name: string; data: any }[] = []
  /** Set by a test: locks.request rejects with it. */
  denial: Error | undefined

  constructor(t: TestContext) {
    const profile = this
    const tab = () => here.getStore()!
    const { setTimeout } = globalThis
    const globals: Record<string, PropertyDescriptor> = {
      document: { get: () => here.getStore()?.document },
      navigator: { value: { locks: { request: (...args: any[]) => profile.#request(tab(), ...(args as [string, any, any])) } } },
      addEventListener: { value: (...args: [any, any, any]) => here.getStore()?.window.addEventListener(...args) },
      BroadcastChannel: {
        value: class extends Channel {
          constructor(name: string) {
            super(profile, tab(), name)
          }
        },
      },
      // Timers belong to the tab that sets them.
      setTimeout: {
        value: (f: (...args: any[]) => void, ms: number, ...args: any[]) => {
          const tab = here.getStore()
          return tab ? setTimeout(() => tab.task(() => f(...args)), ms) : setTimeout(f, ms, ...args)
        },
      },
    }
    for (const [name, descriptor] of Object.entries(globals)) {
      const old = Object.getOwnPropertyDescriptor(globalThis, name)
      Object.defineProperty(globalThis, name, { ...descriptor, configurable: true })
      t.after(() => {
        if (old) Object.defineProperty(globalThis, name, old)
        else delete (globalThis as any)[name]
      })
    }
  }

  open(): FakeTab {
    const tab = new FakeTab(this)
    this.tabs.push(tab)
    return tab
  }

  /** The tab that holds a lock whose name begins like this. */
  holder(prefix: string): FakeTab | undefined {
    for (const [name, [first]] of this.locks) if (name === prefix && first?.isHeld) return first.tab
    return undefined
  }

  /** Releases the locks of a tab. */
  release(tab: FakeTab): void {
    for (const [name, claims] of this.locks) {
      this.locks.set(name, claims.filter((claim) => claim.tab !== tab))
      this.#next(name)
    }
  }

  #request(tab: FakeTab, name: string, { signal, steal }: { signal?: AbortSignal; steal?: boolean }, f: () => unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.denial) return reject(this.denial)
      if (signal?.aborted) return reject(signal.reason)
      if (signal && steal) return reject(new DOMException("signal and steal", "NotSupportedError"))
      const claims = () => this.locks.get(name) ?? []
      const leave = () => {
        this.locks.set(name, claims().filter((each) => each !== claim))
        this.#next(name)
      }
      const claim: Claim = {
        tab,
        isHeld: false,
        reject,
        async grant() {
          try {
            resolve(await f())
          } catch (error) {
            reject(error)
          }
          leave()
        },
      }
      if (steal) {
        const [first] = claims()
        if (first?.isHeld) first.tab.task(() => first.reject(new DOMException("stolen", "AbortError")))
        this.locks.set(name, [claim, ...claims().filter((each) => !each.isHeld)])
      } else this.locks.set(name, [...claims(), claim])
      signal?.addEventListener("abort", () => {
        if (claim.isHeld) return
        leave()
        reject(signal.reason)
      })
      this.#next(name)
    })
  }

  #next(name: string): void {
    setImmediate(() => {
      const [first] = this.locks.get(name) ?? []
      if (!first || first.isHeld) return
      first.isHeld = true
      first.tab.task(() => first.grant())
    })
  }
}

class Channel {
  onmessage: ((event: { data: any }) => void) | null = null
  #isClosed = false

  constructor(readonly profile: Profile, readonly tab: FakeTab, readonly name: string) {
    profile.channels.add(this)
  }

  postMessage(data: unknown): void {
    if (this.#isClosed) throw new DOMException("closed", "InvalidStateError")
    const copy = structuredClone(data)
    this.profile.posts.push({ from: this.tab, name: this.name, data: copy })
    for (const other of this.profile.channels)
      if (other !== this && other.name === this.name)
        setImmediate(() => other.tab.task(() => !other.#isClosed && other.onmessage?.({ data: structuredClone(copy) })))
  }

  close(): void {
    this.#isClosed = true
    this.profile.channels.delete(this)
  }
}
