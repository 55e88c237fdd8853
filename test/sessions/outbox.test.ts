import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Message } from '../../src/mqtt/message.ts'
import type { QoS } from '../../src/mqtt/topic.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { Ledger, type Loss, losses } from '../../src/sessions/ledger.ts'
import { Outbox } from '../../src/sessions/outbox.ts'
import type { Outlet, Terms } from '../../src/sessions/outlet.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import { SeededRandom } from '../support/random.ts'
import { outboxContext } from './outbox-context.ts'

const topic = new TopicTable().named('t')
const terms: Terms = { subscriptionIds: undefined }

function message(qos: QoS, payloadBytes = 1, expiresAtMs = Infinity): Message {
  const payload = new Uint8Array(payloadBytes)
  return new Message(topic, qos, false, payload, 0, payloadBytes, undefined, expiresAtMs, undefined, 4)
}

/** A connection that takes `budget` packets, and none of the messages in `tooLarge`. */
class FakeOutlet implements Outlet {
  budget = Infinity
  readonly tooLarge = new Set<Message>()
  readonly sent: Sent[] = []

  get congested(): boolean {
    return this.budget <= 0
  }

  send(it: Message, qos: QoS, retain: boolean, dup: boolean, packetId: number): boolean {
    if (this.tooLarge.has(it)) return false
    this.budget--
    this.sent.push({ message: it, qos, retain, dup, packetId })
    return true
  }

  pubrel(packetId: number): void {
    this.sent.push({ message: undefined, qos: 2, retain: false, dup: false, packetId })
  }
}

/** A PUBLISH, or (without a message) a PUBREL. */
interface Sent {
  readonly message: Message | undefined
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  readonly packetId: number
}

interface Entry {
  readonly message: Message
  readonly qos: 1 | 2
  readonly retain: boolean
  readonly keep: boolean
  state: 'waiting' | 'sent' | 'released'
  packetId: number
  /** Sent on this connection. */
  current: boolean
  held: boolean
}

const limits = { queueMessages: 6, queueBytes: 1200 }

/** The outbox as a plain list, searched from end to end. */
class Naive {
  entries: Entry[] = []
  window = 0
  keepsSent = false
  readonly lost: Loss[] = []
  delivered = 0
  readonly out: Omit<Sent, 'packetId'>[] = []

  get waiting(): number {
    return this.entries.filter(({ state }) => state === 'waiting').length
  }

  get unacked(): number {
    return this.entries.filter(({ state, current }) => state === 'released' || (state === 'sent' && current)).length
  }

  get bytes(): number {
    return this.entries.reduce((sum, { message, held }) => sum + (held ? message.bytes : 0), 0)
  }

  push(entry: Entry, outlet: FakeOutlet | undefined, overfill: boolean): void {
    const behind = this.entries.some(({ state, current }) => state === 'waiting' || (state === 'sent' && !current))
    if (outlet && !behind && this.unacked < this.window && !outlet.congested) {
      if (outlet.tooLarge.has(entry.message)) return void this.lost.push('too-large')
      this.entries.push({ ...entry, state: 'sent', current: true, held: entry.keep || this.keepsSent })
      this.#send(entry, false)
    } else if ((this.waiting >= limits.queueMessages || this.bytes >= limits.queueBytes) && !overfill)
      this.lost.push('queue-full')
    else this.entries.push(entry)
  }

  resume(window: number): void {
    this.window = window
    for (const entry of this.entries) {
      entry.current = entry.state === 'released'
      if (entry.current) this.out.push({ message: undefined, qos: 2, retain: false, dup: false })
    }
  }

  pump(outlet: FakeOutlet, budget: number, nowMs: number): void {
    for (const entry of [...this.entries]) {
      if (entry.current || entry.state === 'released') continue
      if (this.unacked >= this.window || budget <= 0) return
      if (entry.state === 'waiting' && entry.message.expiresAtMs <= nowMs) this.#lose(entry, 'expired')
      else if (outlet.tooLarge.has(entry.message)) this.#lose(entry, 'too-large')
      else {
        this.#send(entry, entry.state === 'sent')
        budget--
        entry.state = 'sent'
        entry.current = true
        entry.held = entry.keep || this.keepsSent
      }
    }
  }

  ack(packetId: number, qos: 1 | 2, reason: number): boolean {
    const entry = this.#inFlight(packetId)
    if (entry?.qos !== qos || (qos === 2) !== (entry.state === 'released')) return false
    this.#finish(entry, reason)
    return true
  }

  pubrec(packetId: number, reason: number): boolean {
    const entry = this.#inFlight(packetId)
    if (entry?.qos !== 2) return false
    if (entry.state === 'released') return true
    if (reason >= 0x80) this.#finish(entry, reason)
    else Object.assign(entry, { state: 'released', held: false })
    return true
  }

  #inFlight(packetId: number): Entry | undefined {
    return this.entries.find((entry) => entry.state !== 'waiting' && entry.packetId === packetId)
  }

  #finish(entry: Entry, reason: number): void {
    if (reason < 0x80) {
      this.delivered++
      this.entries.splice(this.entries.indexOf(entry), 1)
    } else this.#lose(entry, 'refused-by-client')
  }

  #lose(entry: Entry, why: Loss): void {
    this.lost.push(why)
    this.entries.splice(this.entries.indexOf(entry), 1)
  }

  #send({ message, qos, retain }: Entry, dup: boolean): void {
    this.out.push({ message, qos, retain, dup })
  }
}

type Step =
  | {
      readonly do: 'push'
      readonly qos: 1 | 2
      readonly keep: boolean
      readonly kind: number
      readonly overfill: boolean
    }
  | { readonly do: 'ack'; readonly which: number; readonly reason: number }
  | { readonly do: 'stranger'; readonly which: number; readonly packetId: number }
  | { readonly do: 'drain'; readonly budget: number }
  | { readonly do: 'leave' }
  | { readonly do: 'resume'; readonly window: number; readonly budget: number }
  | { readonly do: 'later'; readonly ms: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      qos: fc.constantFrom(1 as const, 2 as const),
      keep: fc.boolean(),
      kind: fc.nat(9),
      overfill: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('ack' as const),
      which: fc.nat(20),
      reason: fc.constantFrom(0, 0, 0, 0x10, 0x80, 0x97),
    }),
  },
  fc.record({
    do: fc.constant('stranger' as const),
    which: fc.nat(12),
    packetId: fc.integer({ min: 1, max: 65_535 }),
  }),
  fc.record({ do: fc.constant('drain' as const), budget: fc.constantFrom(0, 1, 2, 5, Infinity) }),
  fc.record({ do: fc.constant('leave' as const) }),
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('resume' as const),
      window: fc.integer({ min: 1, max: 8 }),
      budget: fc.constantFrom(0, 1, Infinity, Infinity),
    }),
  },
  fc.record({ do: fc.constant('later' as const), ms: fc.constantFrom(1, 60) }),
)

describe('an outbox', () => {
  test('does what a plain list does', () => {
    fc.assert(
      fc.property(
        fc.record({
          keepsSent: fc.boolean(),
          before: fc.oneof({ weight: 9, arbitrary: fc.nat(20) }, fc.integer({ min: 65_520, max: 65_540 })),
          steps: fc.array(step, { maxLength: 120 }),
          ends: fc.array(fc.boolean(), { maxLength: 20 }),
        }),
        run,
      ),
      { numRuns: 1000, seed: 1 },
    )
  })

  test('uses every packet id in turn, and again, with acknowledgements in any order', () => {
    const random = new SeededRandom(7)
    const outbox = new Outbox({ clientId: 'c', number: 0 }, outboxContext({}))
    const outlet = new FakeOutlet()
    const inFlight: number[] = []
    const times = new Uint8Array(65_536)
    outbox.resume(100, outlet)
    for (let n = 0; n < 200_000; n++) {
      outbox.push(message(1), 1, false, terms, false, outlet)
      const { packetId } = outlet.sent.pop()!
      if (inFlight.includes(packetId)) expect.fail(`id ${packetId} is in flight`)
      times[packetId]!++
      inFlight.push(packetId)
      if (inFlight.length < 100) continue
      const [acked] = inFlight.splice(random.below(100), 1)
      if (!outbox.puback(acked!, 0)) expect.fail(`id ${acked} is not known`)
    }
    expect(times[0]).toBe(0)
    expect(new Set(times.subarray(1))).toEqual(new Set([3, 4]))
  })

  test('keeps what expires later than 32 bits of seconds say, when something else expires', () => {
    const store = Object.assign(new MemoryStore(), { offsetMs: 1_700_000_000_000 })
    const ledger = new Ledger()
    const outbox = new Outbox({ clientId: 'c', number: 0 }, outboxContext({}, ledger, store))
    for (const seconds of [10, 0xffff_ffff, 20])
      outbox.push(message(1, 1, seconds * 1000), 1, false, terms, false, undefined)
    for (const [seconds, left] of [
      [9, 3],
      [10, 2],
      [20, 1],
      [0xffff_fff0, 1],
    ] as const) {
      // prettier-ignore
      outbox.expire(1_700_000_000 + seconds)
      expect(outbox.pending).toBe(left)
    }
  })

  test('never uses an id that a client forgot to acknowledge: it waits', () => {
    const ledger = new Ledger()
    const outbox = new Outbox({ clientId: 'c', number: 0 }, outboxContext({}, ledger))
    const outlet = new FakeOutlet()
    outbox.resume(2, outlet)
    outbox.push(message(1), 1, false, terms, false, outlet)
    const forgotten = outlet.sent.pop()!.packetId
    let passed = 0
    for (let n = 0; n < 70_000; n++) {
      outbox.push(message(1), 1, false, terms, false, outlet)
      const next = outlet.sent.pop()
      if (next === undefined) continue
      passed++
      if (next.packetId === forgotten) expect.fail('an id was used twice')
      outbox.puback(next.packetId, 0)
      outbox.pump(outlet, 0)
    }
    expect(passed).toBe(65_533)
    expect(outbox.waiting).toBe(10)
    expect(ledger.lost['queue-full']).toBe(70_000 - passed - 10)
    outbox.puback(forgotten, 0)
    outbox.pump(outlet, 0)
    expect(outlet.sent.length).toBe(2)
  })
})

function run({
  keepsSent,
  before,
  steps,
  ends,
}: {
  keepsSent: boolean
  before: number
  steps: Step[]
  ends: boolean[]
}) {
  const ledger = new Ledger()
  const outbox = new Outbox({ clientId: 'c', number: 0 }, outboxContext(limits, ledger))
  const naive = new Naive()
  outbox.keepsSent = naive.keepsSent = keepsSent
  useIds(outbox, before)
  ledger.delivered = 0
  let outlet: FakeOutlet | undefined
  let nowMs = 0

  const pump = (): void => {
    if (!outlet) return
    naive.pump(outlet, outlet.budget, nowMs)
    outbox.pump(outlet, nowMs)
  }

  /** What went out is what the list says, under ids that are free. */
  const compareSent = (): void => {
    const sent = outlet?.sent.splice(0) ?? []
    expect(sent.map(({ packetId: _, ...rest }) => rest)).toEqual(naive.out.splice(0))
    for (const { message, dup, packetId } of sent) {
      if (packetId < 1 || packetId > 65_535) expect.fail(`packet id ${packetId}`)
      const entry = naive.entries.find((candidate) =>
        message ? candidate.message === message : candidate.packetId === packetId && candidate.state === 'released',
      )!
      // What comes again keeps its id; what is new takes one that nobody has, and no PUBLISH follows its own PUBREL.
      if (message === undefined || dup) expect(packetId).toBe(entry.packetId)
      else if (naive.entries.some((other) => other.packetId === packetId)) expect.fail(`id ${packetId} is in use`)
      entry.packetId = packetId
    }
  }

  const check = (): void => {
    compareSent()
    const { waiting, bytes, pending, unacked } = outbox
    expect([waiting, bytes, pending, ledger.delivered, ledger.copies]).toEqual([
      naive.waiting,
      naive.bytes,
      naive.entries.length,
      naive.delivered,
      naive.delivered + naive.entries.length + naive.lost.length,
    ])
    if (outlet) expect(unacked).toBe(naive.unacked)
    expect(losses.flatMap((why) => Array<string>(ledger.lost[why]).fill(why))).toEqual(naive.lost.sort(byLoss))
  }

  for (const it of steps) {
    switch (it.do) {
      case 'push': {
        const copy = message(it.qos, it.kind === 1 ? 500 : 10, it.kind === 2 ? nowMs + 50 : Infinity)
        if (it.kind === 3) outlet?.tooLarge.add(copy)
        const retain = it.kind === 4
        const entry: Entry = {
          message: copy,
          qos: it.qos,
          retain,
          keep: it.keep,
          state: 'waiting',
          packetId: 0,
          current: false,
          held: true,
        }
        ledger.copies++
        naive.push(entry, outlet, it.overfill)
        outbox.push(copy, it.qos, retain, terms, it.keep, outlet, outbox.full && !it.overfill)
        break
      }
      case 'ack': {
        const inFlight = naive.entries.filter(({ state }) => state !== 'waiting')
        if (inFlight.length === 0 || !outlet) break
        const { packetId, qos, state } = inFlight[it.which % inFlight.length]!
        if (qos === 2 && state === 'sent') {
          expect(outbox.pubrec(packetId, it.reason) >= 0).toBe(naive.pubrec(packetId, it.reason))
        } else if (qos === 2) {
          expect(outbox.pubcomp(packetId)).toBe(naive.ack(packetId, 2, 0))
        } else expect(outbox.puback(packetId, it.reason)).toBe(naive.ack(packetId, 1, it.reason))
        pump()
        break
      }
      case 'stranger': {
        // What fits no message changes nothing; a PUBREC may come again.
        const inFlight = naive.entries.filter(({ state }) => state !== 'waiting')
        const { packetId } = inFlight[it.which] ?? it
        const entry = inFlight.find((candidate) => candidate.packetId === packetId)
        if (entry?.state !== 'released') expect(outbox.pubcomp(packetId)).toBe(false)
        if (entry?.qos !== 1) expect(outbox.puback(packetId, 0)).toBe(false)
        if (entry?.qos !== 2) expect(outbox.pubrec(packetId, 0)).toBe(-1)
        if (entry?.state === 'released') expect(outbox.pubrec(packetId, 0)).toBe(0)
        break
      }
      case 'drain':
        if (outlet) outlet.budget = it.budget
        pump()
        break
      case 'leave':
        // A session that keeps nothing ends with its connection.
        if (!keepsSent && naive.entries.some(({ state }) => state === 'sent')) break
        outlet = undefined
        break
      case 'resume':
        if (!keepsSent && naive.entries.some(({ state }) => state === 'sent')) break
        outlet = new FakeOutlet()
        outlet.budget = it.budget
        naive.resume(it.window)
        outbox.resume(it.window, outlet)
        pump()
        break
      case 'later':
        nowMs += it.ms
        break
    }
    check()
  }

  const moved: Message[] = []
  const left = naive.entries.length
  let asked = 0
  outbox.end((copy) => {
    const takes = ends[asked++ % Math.max(1, ends.length)] ?? false
    if (takes) {
      moved.push(copy)
      ledger.copies--
    }
    return takes
  })
  const movable = naive.entries.filter(
    ({ state, qos, held }) => held && (state === 'waiting' || (state === 'sent' && qos === 1)),
  )
  expect(asked).toBe(movable.length)
  expect(movable.map((entry) => entry.message)).toEqual(expect.arrayContaining(moved))
  expect(ledger.lost['session-ended']).toBe(left - moved.length)
  expect([outbox.pending, outbox.waiting, outbox.bytes, outbox.unacked]).toEqual([0, 0, 0, 0])
  expect(ledger.copies).toBe(ledger.delivered + ledger.lostTotal)
}

function byLoss(a: Loss, b: Loss): number {
  return losses.indexOf(a) - losses.indexOf(b)
}

/** Sends so many messages through, so that ids come near to their end. */
function useIds(outbox: Outbox, count: number): void {
  const outlet = new FakeOutlet()
  const copy = message(1)
  outbox.resume(1, outlet)
  for (let n = 0; n < count; n++) {
    outbox.push(copy, 1, false, terms, false, outlet)
    outbox.puback(outlet.sent.pop()!.packetId, 0)
  }
  outbox.resume(0, outlet)
}
