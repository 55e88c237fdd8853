import type { Message } from '../../src/mqtt/message.ts'
import type { Lsn, SessionHead, Store, StoredCopy } from '../../src/store/port.ts'
import type { Dice } from './dice.ts'
import type { Process } from './process.ts'
import { idOf } from './publication.ts'
import type { Time } from './time.ts'

/** A session that a message was recorded for, and how it goes out. */
interface Recipient extends Pick<StoredCopy, 'subscriptionIds' | 'shared'> {
  readonly session: number
  readonly seq: number
}

/** A message that was recorded. */
interface MessageRecord {
  readonly lsn: Lsn
  readonly message: Message
  readonly recipients: readonly Recipient[]
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
  durable: Lsn = 1
  readonly full = false
  readonly behind = false
  readonly #messages = new Map<string, MessageRecord[]>()
  readonly #byLsn = new Map<Lsn, MessageRecord>()
  readonly #changes: ChangeRecord[] = []
  readonly #clients = new Map<number, string>()
  readonly #listeners: (() => void)[] = []
  readonly #time: Time
  readonly #process: Process
  readonly #dice: Dice
  readonly #syncMs: number
  #recipients: Recipient[] = []
  #last: Lsn = 0
  #numbers = 0
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

  get next(): Lsn {
    return this.#last + 1
  }

  get written(): Lsn {
    return this.durable
  }

  onProgress(listener: () => void): void {
    this.#listeners.push(listener)
  }

  serve(): void {}

  number(): number {
    return ++this.#numbers
  }

  recipient(
    _message: Message,
    session: number,
    seq: number,
    _flags: number,
    subscriptionIds: readonly number[] | undefined,
    shared: string | undefined,
  ): void {
    this.#recipients.push({ session, seq, subscriptionIds, shared })
  }

  message(message: Message): Lsn {
    const lsn = this.#append()
    const { topic, qos, retain, properties, expiresAtMs, publisher } = message
    const payload = message.payload().slice()
    const copy = new (message.constructor as typeof Message)(
      topic,
      qos,
      retain,
      payload,
      0,
      payload.length,
      properties,
      expiresAtMs,
      publisher,
      5,
    )
    const record = { lsn, message: copy, recipients: this.#recipients }
    this.#recipients = []
    this.#byLsn.set(lsn, record)
    const id = idOf(payload)
    const known = this.#messages.get(id)
    if (known) known.push(record)
    else this.#messages.set(id, [record])
    return lsn
  }

  released(session: number, packetId: number): Lsn {
    return this.#change(`released ${this.#clients.get(session)} ${packetId}`)
  }

  received(session: number, seq: number): Lsn {
    return this.#change(`received ${this.#clients.get(session)} ${seq}`)
  }

  settled(): void {}

  session({ number, clientId }: SessionHead): Lsn {
    this.#clients.set(number, clientId)
    return this.#change(`session ${clientId}`)
  }

  ended(session: number): Lsn {
    return this.#change(`ended ${this.#clients.get(session)}`)
  }

  subscribed(session: number, filter: string): Lsn {
    return this.#change(`subscribed ${this.#clients.get(session)} ${filter}`)
  }

  unsubscribed(session: number, filter: string): Lsn {
    return this.#change(`unsubscribed ${this.#clients.get(session)} ${filter}`)
  }

  /** Now and then what is asked for has to be fetched. */
  read(lsn: Lsn, session: number, seq: number): StoredCopy | undefined {
    if (this.#dice.chance(0.05)) return undefined
    return this.readNow(lsn, session, seq)
  }

  fetch(_lsn: Lsn, then: (found: boolean) => void): void {
    this.#time.after(this.#dice.between(0, this.#syncMs), () => this.#process.enter(() => then(true)))
  }

  readNow(lsn: Lsn, session: number, seq: number): StoredCopy | undefined {
    const record = this.#byLsn.get(lsn)
    const recipient = record?.recipients.find((one) => one.session === session && one.seq === seq)
    return record && recipient && { message: record.message, ...recipient }
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
    const records = this.#messages.get(id) ?? []
    return records.some(({ recipients }) => recipients.some(({ session }) => this.#clients.get(session) === clientId))
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
        this.durable = covered + 1
        for (const listener of this.#listeners) listener()
        if (this.#last > covered && !this.#syncing) this.#sync()
      }
      this.#time.after(this.#dice.between(0, this.#syncMs * slow), () => this.#process.enter(done))
    })
  }
}
