import type { Log } from '../host.ts'
import type { Lsn } from './port.ts'

/** A stretch of the log that cannot be read any more, and what it took. */
export interface Loss {
  readonly from: Lsn
  readonly to: Lsn
  /** Where what stood there was saved; '' when nothing stood there. */
  readonly file: string
  /** As far as it could be told. */
  readonly records: number | undefined
  /** Copies that were still to be delivered, by client id. */
  readonly copies: ReadonlyMap<string, number>
}

/** Client ids that one line of the log names. */
const named = 20

export function report(loss: Loss, log: Log): void {
  const { from, to, file, records, copies } = loss
  let lost = 0
  for (const count of copies.values()) lost += count
  const clients = [...copies.keys()].slice(0, named)
  log.error(
    { from, to, file, records, copies: lost, sessions: copies.size, clients },
    'the log is damaged: what stood there was set aside, and these messages are lost',
  )
}

interface OpenLoss extends Loss {
  from: Lsn
  to: Lsn
  readonly copies: Map<string, number>
}

/** Damage that a replay came by. */
export class Losses {
  readonly #losses: OpenLoss[] = []
  readonly #log: Log
  /** Messages of files that are missing, if any are. */
  #missing: OpenLoss | undefined = undefined

  constructor(log: Log) {
    this.#log = log
  }

  get all(): readonly Loss[] {
    return this.#losses
  }

  get any(): boolean {
    return this.#losses.length > 0
  }

  /** Stretches so far. */
  get damages(): number {
    return this.#losses.length
  }

  damaged(from: Lsn, to: Lsn, file: string, records: number | undefined): void {
    this.#losses.push({ from, to, file, records, copies: new Map<string, number>() })
  }

  /** The next message for a client's session stands `count` numbers further than expected: the last damage took them. */
  gap(clientId: string, count: number): void {
    if (count > 0) this.#add(this.#losses[this.#losses.length - 1]!, clientId, count)
  }

  /** Did a message stand where the log is damaged? Then the client has lost it. */
  takes(lsn: Lsn, clientId: string): boolean {
    const loss = this.#losses.find(({ from, to }) => lsn >= from && lsn < to)
    if (loss) this.#add(loss, clientId, 1)
    return loss !== undefined
  }

  /** A message stood in a file that is not there any more: the client has lost it. */
  missing(lsn: Lsn, clientId: string): void {
    if (this.#missing === undefined)
      this.#losses.push((this.#missing = { from: lsn, to: lsn, file: '', records: undefined, copies: new Map() }))
    this.#missing.from = Math.min(this.#missing.from, lsn)
    this.#missing.to = Math.max(this.#missing.to, lsn + 1)
    this.#add(this.#missing, clientId, 1)
  }

  report(): void {
    for (const loss of this.#losses) report(loss, this.#log)
  }

  #add(loss: OpenLoss, clientId: string, count: number): void {
    loss.copies.set(clientId, (loss.copies.get(clientId) ?? 0) + count)
  }
}
