import type { Lsn } from '../../src/store/port.ts'

/** Something that was recorded, by what it is about; a message has records of its own. */
interface ChangeRecord {
  readonly key: string
  readonly lsn: Lsn
}

/**
 * What the stores of a world were told, one after the other, so that a checker can say whether a promise came too early.
 * Of what was not durable when a broker fell, nothing is known any more.
 */
export class Records {
  /** Where messages were recorded when they were published. */
  readonly #messages = new Map<string, Lsn[]>()
  /** For which clients they were ever recorded. */
  readonly #recipients = new Map<string, Set<string>>()
  #changes: (ChangeRecord | undefined)[] = []

  /** How much was recorded so far. */
  get mark(): number {
    return this.#changes.length
  }

  /** @param lsn -1: not when it was published, but later */
  message(id: string, lsn: Lsn, clientIds: readonly string[]): void {
    const known = this.#messages.get(id) ?? []
    if (lsn >= 0) this.#messages.set(id, [...known, lsn])
    const recipients = this.#recipients.get(id) ?? new Set()
    for (const clientId of clientIds) recipients.add(clientId)
    this.#recipients.set(id, recipients)
  }

  change(key: string, lsn: Lsn): void {
    this.#changes.push({ key, lsn })
  }

  /** Where a message was recorded first; undefined when it never was, or may have been lost. */
  messageLsn(id: string): Lsn | undefined {
    return this.#messages.get(id)?.[0]
  }

  /** Was the message ever recorded for this client? */
  recordedFor(id: string, clientId: string): boolean {
    return this.#recipients.get(id)?.has(clientId) === true
  }

  /** Where a change was recorded first since `mark`; undefined when it was not. */
  changeLsn(key: string, mark: number): Lsn | undefined {
    for (let at = mark; at < this.#changes.length; at++) {
      const change = this.#changes[at]
      if (change?.key === key) return change.lsn
    }
    return undefined
  }

  /** The broker has fallen: what began at `durable` or behind it may be lost. Gives the keys of the changes among that. */
  fall(durable: Lsn): ReadonlySet<string> {
    const lost = new Set<string>()
    for (const [at, change] of this.#changes.entries()) {
      if (change === undefined || change.lsn < durable) continue
      lost.add(change.key)
      this.#changes[at] = undefined
    }
    for (const [id, lsns] of this.#messages)
      this.#messages.set(
        id,
        lsns.filter((lsn) => lsn < durable),
      )
    return lost
  }
}
