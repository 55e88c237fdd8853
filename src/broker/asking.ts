import { ask, type Verdict } from '../access/hooks.ts'
import type { Connection } from '../mqtt/connection.ts'
import type { Session } from '../sessions/session.ts'
import type { TimingWheel } from '../sessions/wheel.ts'

/**
 * Asks the host program's hooks about a client. Until the answer is there nothing more is read from that client, so its
 * order holds; the others go on.
 */
export class Asking {
  readonly #wheel: TimingWheel
  readonly #now: () => number
  readonly #limits: { readonly hookSeconds: number }

  constructor(wheel: TimingWheel, now: () => number, limits: { readonly hookSeconds: number }) {
    this.#wheel = wheel
    this.#now = now
    this.#limits = limits
  }

  /** `then` runs before this returns when the hook answers at once; never for a client that has gone meanwhile. */
  about<T>(client: Connection<Session>, hook: () => T | Promise<T>, then: (verdict: Verdict<T>) => void): void {
    let later = false
    const pending = ask(hook, this.#delay, (verdict) => {
      if (!later) return then(verdict)
      // Nobody above catches what goes wrong in an answer that came later.
      try {
        if (client.state !== 'closed') then(verdict)
      } catch (fault) {
        client.fail(fault instanceof Error ? fault : new Error(String(fault)))
      }
      client.release()
    })
    if (!pending) return
    later = true
    client.hold()
  }

  /** Asks when no client waits for the answer: a will that fires. */
  aside<T>(hook: () => T | Promise<T>, then: (verdict: Verdict<T>) => void): void {
    ask(hook, this.#delay, then)
  }

  readonly #delay = (run: () => void): (() => void) => {
    const timer = { dueMs: Infinity, tick: -1, due: run }
    this.#wheel.schedule(timer, this.#now() + this.#limits.hookSeconds * 1000)
    return () => {
      this.#wheel.cancel(timer)
      // Its slot holds it for a while yet; what it would have answered, with the message, may go.
      timer.due = () => {}
    }
  }
}
