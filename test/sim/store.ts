import type { Message } from '../../src/mqtt/message.ts'
import type { Lsn, Store, StoredSession } from '../../src/store/port.ts'
import type { Dice } from './dice.ts'
import type { Process } from './process.ts'
import { idOf } from './publication.ts'
import type { Time } from './time.ts'

/** A message that was recorded. */
interface MessageRecord {
  readonly lsn: Lsn
  readonly recipients: readonly string[]
}

/** Anything else that was recorded, by what it is about. */
interface ChangeRecord {
  readonly key: string
  readonly lsn: Lsn
}

/**
 * A store whose disk is slow: a change is durable only after the sync that began behind it (group commit), milliseconds
 * later. It keeps what it was told, so that a checker can say whether a promise came too early.
 */
export class SlowStore implements Store {
  durableLsn: Lsn = 0
  readonly #messages = new Map<string, MessageRecord[]>()
  readonly #changes: ChangeRecord[] = []
  readonly #listeners: (() => void)[] = []
  readonly #time: Time
  readonly #process: Process
  readonly #dice: Dice
  readonly #syncMs: number
  #last: Lsn = 0
  #syncing = false

  constructor(time: Time, process: Process, dice: Dice, syncMs: number) {
    this.#time = time
    this.#process = process
    this.#dice = dice
    this.#syncMs = syncMs
  }

  /** The number of the last change, durable or not. */
  get lastLsn(): Lsn {
    return this.#last
  }

  onDurable(listener: () => void): void {
    this.#listeners.push(listener)
  }

  message(message: Message, recipients: readonly StoredSession[]): Lsn {
    const lsn = this.#append()
    const id = idOf(message.payload())
    const record = { lsn, recipients: recipients.map(({ clientId }) => clientId) }
    const known = this.#messages.get(id)
    if (known) known.push(record)
    else this.#messages.set(id, [record])
    return lsn
  }

  released(session: StoredSession, packetId: number): Lsn {
    return this.#change(`released ${session.clientId} ${packetId}`)
  }

  session(session: StoredSession): Lsn {
    return this.#change(`session ${session.clientId}`)
  }

  sessionEnded(session: StoredSession): Lsn {
    return this.#change(`ended ${session.clientId}`)
  }

  subscribed(session: StoredSession, filter: string): Lsn {
    return this.#change(`subscribed ${session.clientId} ${filter}`)
  }

  unsubscribed(session: StoredSession, filter: string): Lsn {
    return this.#change(`unsubscribed ${session.clientId} ${filter}`)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  /** Where a message was recorded first; undefined when it never was. */
  messageLsn(id: string): Lsn | undefined {
    return this.#messages.get(id)?.[0]?.lsn
  }

  /** Was the message recorded for this client? */
  recordedFor(id: string, clientId: string): boolean {
    return this.#messages.get(id)?.some(({ recipients }) => recipients.includes(clientId)) ?? false
  }

  /** Where a change was recorded first behind `since`; undefined when it was not. */
  changeLsn(key: string, since: Lsn): Lsn | undefined {
    return this.#changes.find((change) => change.lsn > since && change.key === key)?.lsn
  }

  #change(key: string): Lsn {
    const lsn = this.#append()
    this.#changes.push({ key, lsn })
    return lsn
  }

  #append(): Lsn {
    this.#last++
    if (!this.#syncing) this.#sync()
    return this.#last
  }

  #sync(): void {
    this.#syncing = true
    this.#process.endOfTurn(() => {
      const covered = this.#last
      const slow = this.#dice.chance(0.02) ? 20 : 1
      const done = () => {
        this.#syncing = false
        this.durableLsn = covered
        for (const listener of this.#listeners) listener()
        if (this.#last > covered && !this.#syncing) this.#sync()
      }
      this.#time.after(this.#dice.between(0, this.#syncMs * slow), () => this.#process.enter(done))
    })
  }
}
