import { describe, expect, test } from 'vitest'
import { RetainedReplication } from '../../src/cluster/retained.ts'
import { StampClock } from '../../src/cluster/stamp.ts'
import { FrameType, WireError } from '../../src/cluster/wire.ts'
import { Message } from '../../src/mqtt/message.ts'
import { isNewer, type Stamp } from '../../src/mqtt/stamp.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { writeBody } from '../../src/store/message-record.ts'
import { CorruptRecordError, RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { Fleet, type Replica } from './retained-kit.ts'

const topics = new TopicTable()

function message(topic: string, text: string, stamp?: Stamp): Message {
  const payload = Buffer.from(text)
  const made = new Message(topics.named(topic), 0, true, payload, 0, payload.length, undefined, Infinity, undefined, 5)
  made.stamp = stamp
  return made.keep()
}

function two(options: Partial<ConstructorParameters<typeof Fleet>[1]> = {}): { fleet: Fleet; a: Replica; b: Replica } {
  const fleet = new Fleet(1, { nodes: 2, tombstoneSeconds: 60, ...options })
  const [a, b] = fleet.replicas
  return { fleet, a: a!, b: b! }
}

describe('the clock of stamps', () => {
  const clockAt = (walls: number[]) => ({
    now: () => 0,
    wall: () => (walls.length > 1 ? walls.shift()! : walls[0]!),
    every: () => () => {},
    endOfTurn() {},
  })
  const of = ({ ms, count, node }: Stamp): string => `${ms} ${count} ${node}`

  test('goes on while the wall clock stands, or goes back', () => {
    const clock = new StampClock('a', clockAt([5000, 5000.7, 5000.9, 5001, 4000, 4000, 5002]))
    expect(Array.from({ length: 6 }, () => of(clock.next(undefined)))).toEqual([
      '5000 0 a',
      '5000 1 a',
      '5001 0 a',
      '5001 1 a',
      '5001 2 a',
      '5002 0 a',
    ])
  })

  test('follows the clock of another node, but not too far', () => {
    const clock = new StampClock('a', clockAt([5000]))
    expect(clock.saw({ ms: 65_001, count: 0, node: 'b' })).toBe(false)
    expect(of(clock.next(undefined))).toBe('5000 0 a')
    expect(clock.saw({ ms: 65_000, count: 7, node: 'b' })).toBe(true)
    expect(of(clock.next(undefined))).toBe('65000 8 a')
  })

  test('is newer than what the topic has, even where that is too far ahead', () => {
    const clock = new StampClock('a', clockAt([5000]))
    for (const after of [
      { ms: 900_000, count: 3, node: 'z' },
      { ms: 900_000, count: 0xffff, node: 'z' },
    ]) {
      expect(isNewer(clock.next(after), after)).toBe(true)
      expect(clock.next(undefined).ms).toBe(5000)
    }
  })

  test('counts into the next millisecond', () => {
    const clock = new StampClock('a', clockAt([5000]))
    clock.saw({ ms: 5000, count: 0xffff, node: 'b' })
    expect([of(clock.next(undefined)), of(clock.next(undefined))]).toEqual(['5001 0 a', '5001 1 a'])
  })
})

test('what a node retained before there was a cluster is there for all, and anything newer wins', () => {
  const { fleet, a, b } = two()
  fleet.stop(a, 'kill')
  a.start((retained) => {
    retained.set(message('old', 'alone'))
    retained.set(message('both', 'alone'))
    retained.set(message('$SYS/uptime', '7'))
  })
  fleet.publish(b, 'both', 'cluster')
  fleet.link(a, b)
  fleet.run(10_000)
  expect([...b.content()].sort()).toEqual([
    ['both', 'cluster'],
    ['old', 'alone'],
  ])
  expect(a.content().get('both')).toBe('cluster')
})

test('what is below $SYS is every node’s own', () => {
  const { fleet, a, b } = two()
  fleet.heal()
  a.publish('$SYS/uptime', '7', Infinity, () => false)
  b.publish('$SYS/uptime', '9', Infinity, () => false)
  fleet.run(20_000)
  expect([a.content().get('$SYS/uptime'), b.content().get('$SYS/uptime')]).toEqual(['7', '9'])
})

test('a node whose clock is far ahead is not believed until it is not', () => {
  const { fleet, a, b } = two()
  a.skewMs = 600_000
  fleet.heal()
  fleet.publish(b, 't', 'right')
  fleet.run(5000)
  expect(a.content().get('t')).toBe('right')
  fleet.publish(a, 't', 'ahead')
  fleet.publish(a, 'u', 'ahead')
  fleet.run(60_000)
  expect([...b.content()]).toEqual([['t', 'right']])
  expect(b.replication.figures.ahead).toBeGreaterThan(0)
  fleet.run(600_000)
  expect([...b.content()].sort()).toEqual([...a.content()].sort())
  expect(b.content().get('u')).toBe('ahead')
})

const years = 10 * 365 * 86_400_000

test('a clock that was years ahead for a moment: what is published there then is believed by nobody, what is later is', () => {
  const { fleet, a, b } = two()
  fleet.heal()
  fleet.publish(a, 't', 'before')
  fleet.run(5000)
  a.skewMs = years
  fleet.publish(a, 'u', 'meanwhile')
  fleet.run(5000)
  a.skewMs = 0
  fleet.publish(a, 't', 'later')
  fleet.run(20_000)
  expect([...b.content()]).toEqual([['t', 'later']])
})

test('clocks that were years ahead for a moment retire tombstones, and what was removed does not come back', () => {
  const fleet = new Fleet(1, { nodes: 3, tombstoneSeconds: 60 })
  const [a, b, c] = fleet.replicas as [Replica, Replica, Replica]
  fleet.heal()
  fleet.publish(a, 't', 'x')
  fleet.run(10_000)
  fleet.cut(a, c)
  fleet.cut(b, c)
  fleet.publish(a, 't', '')
  fleet.run(5000)
  for (const replica of [a, b]) replica.skewMs = years
  fleet.run(10_000)
  for (const replica of [a, b]) replica.skewMs = 0
  fleet.run(10_000)
  expect([...c.content()]).toEqual([['t', 'x']])
  fleet.heal()
  fleet.run(30_000)
  for (const replica of [a, b, c]) expect([...replica.content()]).toEqual([])
  // All have heard of it, and it is old enough for the last of them: nobody keeps it any longer.
  fleet.run(120_000)
  expect(a.retained.tombstones).toBe(0)
})

test('limits hold on each node, and what does not fit is not asked for again and again', () => {
  const { fleet, a, b } = two({ limits: { messages: 10, bytes: 1e6 } })
  for (let i = 0; i < 10; i++) fleet.publish(a, `a/${i}`, 'x'.repeat(1000))
  for (let i = 0; i < 10; i++) fleet.publish(b, `b/${i}`, 'x'.repeat(1000))
  fleet.heal()
  fleet.run(10_000)
  expect([a.retained.size, b.retained.size]).toEqual([10, 10])
  expect(a.replication.figures.noRoom + b.replication.figures.noRoom).toBeGreaterThan(0)
  fleet.publish(a, 'a/0', 'again', Infinity, 0)
  fleet.publish(a, 'a/1', '', Infinity, 0)
  fleet.run(200_000)
  expect(a.retained.size + b.retained.size).toBe(20)
  const { repaired } = a.replication.figures
  const { bytes } = fleet
  fleet.run(50_000)
  expect(a.replication.figures.repaired - repaired).toBeLessThan(30)
  // Hashes of buckets, every few seconds.
  expect(fleet.bytes - bytes).toBeLessThan(400_000)
})

test('a node that joins gets everything, at its own pace', () => {
  const fleet = new Fleet(1, { nodes: 3, tombstoneSeconds: 60, latencyMs: 20 })
  const [a, b] = fleet.replicas
  fleet.heal()
  const count = 8000
  for (let i = 0; i < count; i++) {
    fleet.publish(i % 2 === 0 ? a! : b!, `dev/${i}/temp`, `${i}`.padEnd(1000, '.'))
    if (i % 100 === 0) fleet.run(20)
  }
  fleet.run(30_000)
  fleet.mostBytes = 0
  const joiner = fleet.add()
  fleet.heal()
  const bytes = fleet.bytes
  for (let seconds = 0; joiner.retained.size < count && seconds < 60; seconds++) fleet.run(1000)
  expect(joiner.retained.size).toBe(count)
  fleet.run(5000)
  expect(fleet.faults()).toEqual([])
  // Once, and not from each of the others.
  expect(fleet.bytes - bytes).toBeLessThan(1.3 * count * 1050)
  // In one event: a slice, or the lists of a few buckets.
  expect(fleet.mostBytes).toBeLessThan(400_000)
})

test('a peer that does not keep up is spared, and gets it by a comparison', () => {
  const { fleet, a, b } = two({ latencyMs: 4000 })
  fleet.heal()
  for (let i = 0; i < 200; i++) fleet.publish(a, `t/${i}`, 'x'.repeat(20_000), Infinity, 0)
  expect(a.replication.figures.spread).toBeLessThan(60)
  expect(a.replication.figures.skipped).toBeGreaterThan(100)
  fleet.run(200_000)
  expect(b.retained.size).toBe(200)
})

test('a full disk takes nothing over, and makes up for it', () => {
  const { fleet, a, b } = two()
  fleet.heal()
  fleet.run(1000)
  const full = Object.defineProperty(b.store, 'full', { value: true, configurable: true })
  fleet.publish(a, 't', 'x', Infinity, 0)
  fleet.run(10_000)
  expect([b.retained.size, b.replication.figures.diskFull > 0]).toEqual([0, true])
  delete (full as { full?: boolean }).full
  fleet.run(20_000)
  expect(b.content().get('t')).toBe('x')
})

test('tombstones wait for a member that is away, unless it is evicted', () => {
  const fleet = new Fleet(1, { nodes: 3, tombstoneSeconds: 60 })
  const [a, , c] = fleet.replicas
  fleet.heal()
  fleet.publish(a!, 't', 'x')
  fleet.run(5000)
  fleet.stop(c!, 'kill')
  fleet.publish(a!, 't', '')
  fleet.run(3_600_000)
  expect(a!.retained.tombstones).toBe(1)
  fleet.evicted.add('n2')
  a!.replication.forget('n2')
  fleet.run(60_000)
  expect(fleet.replicas.slice(0, 2).map(({ retained }) => retained.tombstones)).toEqual([0, 0])
})

describe('a frame that makes no sense closes the link', () => {
  const body = (topic: string, stamp?: Stamp) => (writer: RecordWriter) =>
    writeBody(writer, message(topic, 'x', stamp), 0)
  const stamp = { ms: 1, count: 1, node: 'b' }
  const frames: readonly (readonly [what: string, type: number, write: (writer: RecordWriter) => void])[] = [
    ['an empty message', FrameType.retained, () => {}],
    ['a message without a stamp', FrameType.retained, body('t')],
    ['a message below $SYS', FrameType.retained, body('$SYS/broker', stamp)],
    [
      'a topic with a wildcard',
      FrameType.retained,
      (writer) => {
        const bad = message('t', 'x', stamp)
        Object.defineProperty(bad, 'topic', { value: { name: '#', bytes: Buffer.from('#') } })
        writeBody(writer, bad, 0)
      },
    ],
    ['half a digest', FrameType.retainedDigest, (writer) => writer.u8(8)],
    ['a bucket that is none', FrameType.retainedBucket, (writer) => writer.u16(1024)],
    [
      'half a list',
      FrameType.retainedBucket,
      (writer) => {
        writer.u16(1)
        writer.u8(1)
        writer.text('t')
      },
    ],
    ['wishes of no bucket', FrameType.retainedWanted, (writer) => writer.u16(5000)],
    ['more handled than sent', FrameType.retainedApplied, (writer) => writer.varint(1)],
    ['nothing handled', FrameType.retainedApplied, () => {}],
  ]
  test.each(frames)('%s', (_what, type, write) => {
    const { fleet, a, b } = two()
    fleet.link(a, b)
    const writer = new RecordWriter()
    write(writer)
    const bytes = Uint8Array.from(writer.view())
    const read = (): void => a.replication.frame('n1', type, new RecordReader().over(bytes, 0, bytes.length))
    let thrown: unknown
    try {
      read()
    } catch (fault) {
      thrown = fault
    }
    expect(thrown instanceof WireError || thrown instanceof CorruptRecordError).toBe(true)
    expect(a.retained.size).toBe(0)
  })

  test('and so does asking without end', () => {
    const { fleet, a, b } = two()
    fleet.link(a, b)
    for (let i = 0; i < 2000; i++) a.publish(`t/${i}`, 'x'.repeat(2000), Infinity, () => true)
    const ask = (): void => {
      for (let bucket = 0; bucket < 1024; bucket++) {
        const writer = new RecordWriter()
        writer.u16(bucket)
        writer.u8(1)
        a.replication.frame('n1', FrameType.retainedBucket, new RecordReader().over(writer.view(), 0, writer.length))
      }
    }
    expect(ask).toThrow(WireError)
  })

  test('frames of later versions, and of nodes without a link, are passed over', () => {
    const { fleet, a, b } = two()
    a.replication.frame('n1', FrameType.retained, new RecordReader())
    fleet.link(a, b)
    a.replication.frame('n1', 0x4f, new RecordReader())
    expect(a.replication).toBeInstanceOf(RetainedReplication)
  })
})
