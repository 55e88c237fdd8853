import { describe, expect, test } from 'vitest'
import { Message } from '../../src/mqtt/message.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { DiskStore, openDiskStore } from '../../src/store/disk-store.ts'
import { Entry, type SessionState, type StateSource } from '../../src/store/port.ts'
import { RecordType } from '../../src/store/records.ts'
import { Restore } from '../../src/store/restore.ts'
import { dropSeconds, StoreTime } from '../../src/store/store-time.ts'
import { Dice } from '../sim/dice.ts'
import { SimDisk } from '../sim/disk.ts'
import { MemoryIndex } from '../sim/index.ts'
import { patch } from '../sim/patch.ts'
import { Process } from '../sim/process.ts'
import { Time } from '../sim/time.ts'
import { silent } from './model.ts'
import { aliveIn } from './places.ts'

// What is kept has an hour to live when it is written down. The wall clock is set, processes end and begin: what is left?

const hour = 3600
const day = 24 * hour
const years = 50 * 365.25 * day

/** What happens: seconds pass, with a process or without one; somebody sets the clock; a process ends, begins, writes. */
type Deed = readonly ['passes' | 'is set by', number] | 'kill' | 'power' | 'close' | 'start' | 'write'

/** What is left of the hour of a session, its will, a message in its queue (by its entry, too), and a retained message. */
interface Left {
  readonly session: number
  readonly will: number
  readonly queued: number
  readonly entry: number
  readonly retained: number
}

/** A machine, and a store with something of everything in it. */
class Shelf implements StateSource {
  readonly #dice = new Dice(1)
  readonly #time = new Time(this.#dice)
  readonly #topics = new TopicTable()
  #process = new Process(this.#time, 0)
  #disk = new SimDisk(this.#dice, (run) => this.#later(run))
  #index = new MemoryIndex((run) => this.#later(run))
  #store!: DiskStore
  #session: SessionState | undefined
  #retained: Message | undefined

  constructor() {
    this.#start()
    const endsMs = this.#process.now() + hour * 1000
    const queued = this.#message(false, endsMs)
    this.#retained = this.#message(true, endsMs)
    let queuedAt = 0
    const at = dropSeconds(endsMs + this.#store.offsetMs)
    const entry = Entry.waiting | (queued.bytes << Entry.bytesShift)
    const will = { topic: 'w', payload: Uint8Array.of(), qos: 0, retain: false, properties: undefined } as const
    this.#session = {
      ...{ number: this.#store.number(), clientId: 'c', epoch: 1, expirySeconds: hour, username: undefined },
      ...{ endDueMs: endsMs, willDueMs: endsMs, online: false, subscriptions: new Map(), incoming: () => [] },
      will: { ...will, delaySeconds: hour, expirySeconds: -1 },
      queue: { head: 0, next: 1, lsnOf: () => queuedAt, entryOf: () => entry, expiryOf: () => at },
    }
    this.#store.session(this.#session)
    queuedAt = this.#store.next
    this.#store.recipient(queued, this.#session.number, 0, 0, undefined, undefined)
    this.#store.message(queued, false, 0, 0, 'fsync')
    this.#write()
  }

  session(): SessionState | undefined {
    return this.#session
  }

  retained(): Message | undefined {
    return this.#retained
  }

  moved(): void {}

  async happens(deed: Deed): Promise<void> {
    if (deed === 'start') this.#start()
    else if (deed === 'write') this.#write()
    else if (deed === 'close') await this.#close()
    else if (deed === 'kill' || deed === 'power') this.#fall(deed)
    else if (deed[0] === 'passes') this.#pass(deed[1])
    else this.#time.setMs += deed[1] * 1000
  }

  look(): Left {
    const nowMs = this.#process.now()
    const left = (atMs: number) => Math.round((atMs - nowMs) / 1000)
    const { number, endDueMs, willDueMs, queue } = this.#session!
    const [place] = aliveIn(queue!)
    const { lsn, seq, expiry } = place!
    const { message } = this.#store.readNow(lsn, number, seq)!
    return {
      session: left(endDueMs),
      will: left(willDueMs),
      queued: left(message.expiresAtMs),
      entry: left(expiry * 1000 - this.#store.offsetMs),
      retained: left(this.#retained!.expiresAtMs),
    }
  }

  #write(): void {
    const lsn = this.#store.message(this.#message(true, this.#retained!.expiresAtMs), true, 0, 0, 'fsync')
    for (let i = 0; i < 1000 && this.#store.durable <= lsn; i++) this.#time.step()
    expect(this.#store.durable).toBeGreaterThan(lsn)
  }

  #message(retain: boolean, expiresAtMs: number): Message {
    const payload = Buffer.from('x')
    return new Message(
      ...([this.#topics.named('t'), 1, retain, payload, 0, 1, undefined, expiresAtMs, undefined, 5] as const),
    )
  }

  #later(run: () => void): void {
    const process = this.#process
    this.#time.after(1, () => process.enter(run))
  }

  #start(): void {
    const { store, recovered } = openDiskStore({
      ...{ disk: this.#disk, index: this.#index, clock: this.#process, topics: this.#topics, log: silent },
      ...{ storeId: 7, reserveBytes: 0 },
    })
    this.#store = store
    const [session] = recovered.sessions
    if (session) this.#session = { ...session, incoming: () => session.incoming }
    this.#retained = recovered.retained[0]
    store.serve(this)
  }

  #pass(seconds: number): void {
    const untilMs = this.#time.now() + seconds * 1000
    while (this.#time.nextMs <= untilMs) this.#time.step()
    this.#time.stall(untilMs - this.#time.now())
  }

  #fall(how: 'kill' | 'power'): void {
    this.#process.kill()
    this.#process = new Process(this.#time, this.#time.now())
    const later = (run: () => void) => this.#later(run)
    this.#disk = how === 'kill' ? this.#disk.kill(this.#dice, later) : this.#disk.crash(this.#dice, later)
    this.#index = this.#index.crash(this.#dice, later)
  }

  async #close(): Promise<void> {
    let over = false
    const closed = this.#store.close().finally(() => (over = true))
    for (let i = 0; i < 1000 && !over; i++) {
      this.#time.step()
      await Promise.resolve()
    }
    await closed
    this.#fall('kill')
  }
}

async function lived(deeds: readonly Deed[]): Promise<Left> {
  const shelf = new Shelf()
  for (const deed of deeds) await shelf.happens(deed)
  return shelf.look()
}

const all = (seconds: number): Left => ({
  session: seconds,
  will: seconds,
  queued: seconds,
  entry: seconds,
  retained: seconds,
})

type Story = readonly [what: string, deeds: readonly Deed[], left: number]

/** Of an hour. Ten seconds before, five after it, and a minute without a process. */
const set = (...seconds: number[]): Deed[] => [
  ['passes', 10],
  ...seconds.flatMap((by): Deed[] => [
    ['is set by', by],
    ['passes', 5],
  ]),
]
const pause: Deed[] = [['passes', 60], 'start']

const known: readonly Story[] = (['kill', 'power', 'close'] as const).flatMap((end): Story[] => [
  [`${end}`, [...set(), end, ...pause], hour - 70],
  [`a day ahead, ${end}`, [...set(day), end, ...pause], hour - 75],
  [`a day back, ${end}`, [...set(-day), end, ...pause], hour - 75],
  [`fifty years ahead, ${end}`, [...set(years), end, ...pause], hour - 75],
  [`fifty years back, ${end}`, [...set(-years), end, ...pause], hour - 75],
  [`ahead, ahead and back, ${end}`, [...set(day, years, -3 * day), end, ...pause], hour - 85],
  [`ahead and right again, ${end}`, [...set(years, -years), end, ...pause], hour - 80],
  [
    `ahead in one process, back in the next, ${end}`,
    [...set(years), end, ...pause, ...set(-day), end, ...pause],
    hour - 150,
  ],
  [`two starts after a jump, ${end}`, [...set(day), end, ...pause, end, ...pause, end, ...pause], hour - 195],
])

// Without a battery the clock begins anew at each start, and is set a little later.
const blind: readonly Story[] = (['kill', 'power', 'close'] as const).map((end) => [
  `a clock that begins in the past at each start, ${end}`,
  [...set(), ...gone(end), ...pause, ...set(years + 60), ...gone(end), ...pause],
  hour - 10 - 15,
])
/** A process that has written of late ends, and the clock forgets. */
function gone(end: 'kill' | 'power' | 'close'): Deed[] {
  return ['write', end, ['is set by', -years]]
}

const edges: readonly Story[] = [
  ['what is written in the turn of the jump says so', [['is set by', day], 'write', 'power', 'start'], hour],
  ['nothing was written since a jump ahead: it counts as a pause', [['is set by', 100], 'power', 'start'], hour - 100],
  [
    'a clock that is behind: time goes on where the store was last heard of',
    [...set(), 'kill', ['is set by', -day], ...pause],
    hour,
  ],
  ['nothing was written since a jump back: no time goes back', [['is set by', -day], 'power', 'start'], hour],
  [
    'a clock set ahead while nothing runs cannot be told from a pause',
    ['close', ['is set by', 100], 'start'],
    hour - 100,
  ],
  [
    'a clock that forgot the time is set right after the process that began with it',
    [...gone('kill'), ...pause, ['passes', 10], 'write', 'kill', ['is set by', years], ...pause],
    hour - 60 - 10 - 60,
  ],
  [
    'a clock set back a little, and a pause longer than that',
    [...set(-100), 'kill', ['passes', 300], 'start'],
    hour - 15 - 300,
  ],
  ['a clock set back while nothing runs: the pause counts as nothing', ['close', ['is set by', -day], ...pause], hour],
]

describe('of an hour is left what has not passed', () => {
  test.each([...known, ...blind, ...edges])('%s', async (_, deeds, left) => {
    // A write takes some milliseconds of the world.
    expect(await lived(deeds)).toEqual(all(left))
  })
})

describe('planted bugs', () => {
  const getter = <T extends object>(prototype: T, name: keyof T & string, get: (this: T) => unknown) => {
    const original = Object.getOwnPropertyDescriptor(prototype, name)!
    Object.defineProperty(prototype, name, { ...original, get })
    return () => void Object.defineProperty(prototype, name, original)
  }
  const mutants: readonly (readonly [what: string, plant: () => () => void])[] = [
    ['that the clock was set is not written down', () => getter(StoreTime.prototype, 'wasSet', () => false)],
    [
      'a start knows the wall clock only',
      () => patch(StoreTime.prototype, 'resume', (resume) => resumed(resume, () => [0, 0])),
    ],
    [
      'time goes back with the wall clock',
      () => patch(StoreTime.prototype, 'resume', (resume) => resumed(resume, (_, ahead) => [0, ahead])),
    ],
    [
      'what was known of the clock is forgotten at the next start',
      () => patch(StoreTime.prototype, 'resume', (resume) => resumed(resume, (last) => [last, 0])),
    ],
    [
      'a clock that was behind is never set right',
      () =>
        patch(
          StoreTime.prototype,
          'resume',
          (resume) =>
            function (this: StoreTime, lastMs, aheadMs) {
              resume.call(this, lastMs, aheadMs)
              if (aheadMs < 0) this.offsetMs = Math.max(this.offsetMs, this.offsetMs - aheadMs)
            },
        ),
    ],
    [
      'the replay passes over what the log says of the clock',
      () =>
        patch(
          Restore.prototype,
          'record',
          (record) =>
            function (this: Restore, lsn, type, ...rest) {
              record.call(this, lsn, type === RecordType.clock ? RecordType.alive : type, ...rest)
            },
        ),
    ],
    [
      'the index does not say how the clock is',
      () =>
        patch(
          DiskStore.prototype,
          'meta',
          (meta) =>
            function (this: DiskStore, from) {
              return { ...meta.call(this, from), aheadMs: 0 }
            },
        ),
    ],
  ]
  test.each(mutants)('found: %s', async (_, plant) => {
    const undo = plant()
    try {
      const wrong: string[] = []
      for (const [what, deeds, left] of [...known, ...blind, ...edges])
        if (JSON.stringify(await lived(deeds)) !== JSON.stringify(all(left))) wrong.push(what)
      expect(wrong).not.toEqual([])
    } finally {
      undo()
    }
  })
})

type Resume = StoreTime['resume']

function resumed(resume: Resume, instead: (lastMs: number, aheadMs: number) => [number, number]): Resume {
  return function (this: StoreTime, lastMs, aheadMs) {
    resume.call(this, ...instead(lastMs, aheadMs))
  }
}

test.each([
  ['at once', 0, 1],
  ['before the store began', -5000, 1],
  ['a second and a bit', 1000.5, 2],
  ['the last that 32 bits hold', 0xffff_ffff * 1000, 0xffff_ffff],
  ['behind that', 0xffff_ffff * 1000 + 1, 0],
  ['never', Infinity, 0],
])('a queue drops what expires %s', (_, atMs, seconds) => expect(dropSeconds(atMs)).toBe(seconds))
