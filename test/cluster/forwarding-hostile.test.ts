import { describe, expect, test } from 'vitest'
import { FrameType, WireError } from '../../src/cluster/wire.ts'
import { CorruptRecordError, RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { Town } from './forwarding-kit.ts'

// Frames of another node that make no sense: each is an error of its link, nothing of it reaches a subscriber, and what
// comes behind it on a new link does.

type Write = (writer: RecordWriter) => void

interface Parts {
  flags?: number
  more?: number
  place?: readonly number[]
  topic?: Write
  rest?: Write
}

const name =
  (topic: string | Buffer, number = 1): Write =>
  (writer) => {
    const bytes = Buffer.from(topic)
    writer.varint(number)
    writer.block(bytes, 0, bytes.length)
  }
const payload: Write = (writer) => writer.block(Buffer.from('x'), 0, 1)

/** A publish frame of wire version 2: QoS 1, plain, the first of its stream, where nothing else is said. */
function publish(parts: Parts = {}): Write {
  const { flags = 1 | 16, more = 0, place = [0, 0, 0], topic = name('t'), rest = payload } = parts
  return (writer) => {
    writer.u8(flags)
    writer.u8(more)
    for (const number of place) writer.varint(number)
    writer.varint(1)
    topic(writer)
    rest(writer)
  }
}

/** Nobody knows this name for a node's stream: a number, and where it begins. */
const streams: Write = (writer) => {
  for (const number of [1, 99, 0]) writer.varint(number)
}

const cases: readonly (readonly [what: string, type: FrameType, write: Write])[] = [
  ['an empty message', FrameType.publish, () => {}],
  ['QoS 3', FrameType.publish, publish({ flags: 3 | 16 })],
  ['a class of durability that is none', FrameType.publish, publish({ more: 3 })],
  ['a stream that was never named', FrameType.publish, publish({ place: [7, 0, 0] })],
  ['a past before the beginning', FrameType.publish, publish({ place: [0, 3, 4] })],
  ['a topic with a number that was never given', FrameType.publish, publish({ topic: (writer) => writer.varint(9) })],
  ['a number beyond the next one', FrameType.publish, publish({ topic: name('t', 5) })],
  ['a topic with a wildcard', FrameType.publish, publish({ topic: name('t/#') })],
  ['a topic without a name', FrameType.publish, publish({ topic: name('') })],
  ['a topic that is no text', FrameType.publish, publish({ topic: name(Buffer.from([0xff, 0xfe])) })],
  ['a payload that is not there', FrameType.publish, publish({ rest: (writer) => writer.varint(5) })],
  ['no payload', FrameType.publish, publish({ rest: () => {} })],
  ['groups that are not there', FrameType.publish, publish({ more: 4, rest: (writer) => writer.varint(3) })],
  ['half a stamp', FrameType.publish, publish({ flags: 1 | 4 | 16, more: 8, rest: (writer) => writer.varint(3) })],
  ['an expiry that is no number', FrameType.publish, publish({ flags: 1 | 16 | 64, rest: () => {} })],
  ['more streams than are named', FrameType.streams, (writer) => writer.varint(3)],
  ['no streams at all', FrameType.streams, () => {}],
  ['half a word', FrameType.acknowledged, (writer) => writer.varint(0)],
  ['half of what was not served', FrameType.unserved, (writer) => writer.varint(0)],
  ['a fence without a number', FrameType.fence, () => {}],
  ['an answer to no question', FrameType.fenced, (writer) => writer.varint(77)],
]

function hand(town: Town, type: FrameType, write: Write): unknown {
  const writer = new RecordWriter()
  write(writer)
  const { process, forwarding } = town.node('a')
  let thrown: unknown
  process.enter(() => {
    try {
      forwarding.frame('b', type, new RecordReader().over(Uint8Array.from(writer.view()), 0, writer.length))
    } catch (fault) {
      thrown = fault
    }
  })
  return thrown
}

describe('a frame that makes no sense', () => {
  test.each(cases)('%s', (_what, type, write) => {
    const town = new Town(['a', 'b'])
    const subscriber = town.client('a', 's')
    town.subscribe(subscriber, '#')
    hand(town, FrameType.streams, streams)
    const thrown = hand(town, type, write)
    expect(thrown instanceof WireError || thrown instanceof CorruptRecordError, String(thrown)).toBe(true)
    expect(subscriber.came).toEqual([])
    town.cut('a', 'b')
    town.run(10)
    town.link('a', 'b')
    town.publish(town.client('b', 'p'), 't', ['one', 'two'])
    town.run(100)
    expect(subscriber.texts).toEqual(['one', 'two'])
    town.audit()
  })
})

test('the frame that these are made from is one', () => {
  const town = new Town(['a', 'b'])
  const subscriber = town.client('a', 's')
  town.subscribe(subscriber, '#')
  expect(hand(town, FrameType.streams, streams)).toBe(undefined)
  expect(hand(town, FrameType.publish, publish())).toBe(undefined)
  town.run(10)
  expect(subscriber.texts).toEqual(['x'])
})

test('a word for what was never sent, and for a stream that is not there, changes nothing', () => {
  const town = new Town(['a', 'b'])
  const keeper = town.keeper('b', 'k', 't')
  const publisher = town.client('a', 'p')
  for (const numbers of [
    [0, 1_000_000],
    [9, 3],
  ])
    expect(hand(town, FrameType.acknowledged, (writer) => numbers.forEach((n) => writer.varint(n)))).toBe(undefined)
  town.publish(publisher, 't', ['one', 'two'])
  expect(keeper.texts).toEqual(['one', 'two'])
  town.audit()
})
