import type { Clock } from '../host.ts'

const windowMs = 60_000
/** Lines of a window. */
const most = 50

/**
 * Says seldom what happens again and again: the same once a minute, and fifty lines a minute at most. Each tells how many
 * were left out before it.
 */
export class Repeats {
  readonly #clock: Pick<Clock, 'now'>
  readonly #said = new Set<string>()
  #endsMs = 0
  #unsaid = 0

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  /** @param say gets fields for its line: how many like it were not said since the last one, if any */
  say(key: string, say: (more: { readonly unsaid?: number }) => void): void {
    const nowMs = this.#clock.now()
    if (nowMs >= this.#endsMs) {
      this.#said.clear()
      this.#endsMs = nowMs + windowMs
    }
    if (this.#said.has(key) || this.#said.size >= most) {
      this.#unsaid++
      return
    }
    this.#said.add(key)
    const unsaid = this.#unsaid
    this.#unsaid = 0
    say(unsaid > 0 ? { unsaid } : {})
  }
}
