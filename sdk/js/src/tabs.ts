import { createLeader, type Leader, type ToLeader, type ToTab } from "./tabs/leader.js"
import type { TabsPlugin } from "./plugin.js"
import type { Connection, End, Frame, Receiver, Transport } from "./transport.js"

const enum Limit {
  /** How often a tab that is visible and hears nothing asks its leader, in milliseconds. */
  Silence = 5000,
  /** How long the leader may take for an answer, each time that it is asked. */
  Answer = 1000,
  /** How often it is asked before another one takes its place. */
  Asks = 2,
}

/**
 * Shares one connection between the tabs of a browser whose clients have the same server and
 * user. Pass it to connect: `connect(url, {tabs: tabs({user: "u1"})})`. The user is a string
 * that tells users apart, as the claim `sub` does: tabs of different users never share.
 *
 * The tab that holds a lock leads: it has the connection to the server. Every tab, the leader
 * too, has a virtual connection to the leader. When the leader is gone, the virtual connections
 * end, and the clients resume over the next leader.
 */
export const tabs = ({ user }: { user: string }): TabsPlugin => {
  if (!user) throw new TypeError("user is missing: pass a string that tells users apart, such as the claim sub")
  return {
    share(transport, url) {
      const { navigator, BroadcastChannel } = globalThis
      // Pages that exchange other messages, of a later release, need another name.
      return navigator?.locks && BroadcastChannel ? share(transport, `notiflux/tabs 1 ${url} ${user}`, navigator.locks) : transport
    },
  }
}

const share = (transport: Transport, name: string, locks: LockManager): Transport => {
  const { BroadcastChannel, document } = globalThis
  /** The highest term that was heard of. Leaders with a lower one are not listened to. */
  let seen = 0

  const open = ({ frame, end }: Receiver): Connection => {
    let isWelcome = false
    let over: AbortController
    let send: Connection["send"]

    /** Looks for the leader, and becomes the next one. */
    const start = () => {
      over = new AbortController()
      const { signal } = over
      const id = name + " " + Math.random()
      const everyone = new BroadcastChannel(name)
      const channel = new BroadcastChannel(id)
      /** The term of the leader that answered. */
      let term = 0
      let leader: Leader | undefined
      let asked = 0
      let timer: ReturnType<typeof setTimeout>

      const finish = (why: End) => {
        over.abort()
        if (isWelcome || !why._isRestart) end(why)
        else start()
      }

      const restart = () => finish({ _isRestart: true })

      const heard = () => {
        asked = 0
        wait(Limit.Silence)
      }

      const wait = (ms: number) => {
        clearTimeout(timer)
        timer = setTimeout(ask, ms)
      }

      /** Asks for a sign of life. The answer may wait behind a task of this tab, so one is not enough. */
      const ask = () => {
        if (document?.hidden) return
        if (asked++ < Limit.Asks) term ? tell() : join()
        else {
          asked = 0
          locks.request(name, { steal: true }, () => {}).catch(() => {}) // The next one in the queue gets it.
        }
        wait(Limit.Answer)
      }

      const tell = (command?: ToLeader[1], isReceipt?: 1) => channel.postMessage([term, command, isReceipt] as ToLeader)

      const join = () => everyone.postMessage([seen, id])

      everyone.onmessage = ({ data: [latest, joiner] }) => {
        seen = Math.max(seen, latest)
        if (term && latest > term) restart()
        else if (joiner) leader?._join(joiner)
        else if (!term) join()
      }

      channel.onmessage = ({ data: [from, frames, why] }: { data: ToTab }) => {
        if (from < seen) return
        if (term && from > term) return restart()
        term = seen = from
        heard()
        if (frames) {
          tell(0, 1)
          for (const each of JSON.parse(`[${frames}]`) as Frame[]) {
            isWelcome = true
            frame(each)
            if (signal.aborted) return
          }
        }
        if (why) finish(why)
      }

      signal.addEventListener("abort", () => {
        clearTimeout(timer)
        leader?._close()
        everyone.close()
        channel.close()
      })

      /** Holds a lock until the connection is over. */
      const hold = (lock: string, f: () => void) =>
        locks
          .request(lock, { signal }, () => {
            if (signal.aborted) return
            f()
            return signal.aborted || new Promise((resolve) => signal.addEventListener("abort", resolve))
          })
          .catch(({ name }) => {
            if (signal.aborted) return
            if (name === "AbortError") return restart() // Another tab stole the lock.
            over.abort()
            const own = transport.open({ frame, end }) // Locks are not allowed here.
            send = (command) => own.send(command)
            over = { abort: () => own.close() } as AbortController
          })

      send = (command) => {
        tell(command)
        if (!asked) ask()
      }
      document?.addEventListener("visibilitychange", ask, { signal })
      // The leader waits for this lock: it gets it when the tab is gone.
      void hold(id, () => {
        asked = 1
        join()
        wait(Limit.Answer)
      })
      void hold(name, () => {
        if (term) return restart() // That leader is gone.
        seen = Math.max(seen, Date.now()) + Math.random()
        term = seen
        leader = createLeader(transport, term, locks)
        leader._join(id)
        everyone.postMessage([term])
      })
    }

    start()
    return { send: (command) => send(command), close: () => over.abort() }
  }
  return { open }
}
