import { describe, expect, test } from 'vitest'
import { Message, Slab } from '../../src/mqtt/message.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { SeededRandom } from '../support/random.ts'

const topic = new TopicTable().named('topic')
const slabBytes = 16 * 1024

function messageIn(chunk: Uint8Array, start: number, end: number, expiresAtMs = Infinity): Message {
  return new Message(topic, 1, false, chunk, start, end, undefined, expiresAtMs, undefined, 4)
}

describe('a message that is kept', () => {
  test('has its payload, whatever becomes of the chunk, and holds no chunk', () => {
    const random = new SeededRandom(1)
    const slab = new Slab()
    const kept = Array.from({ length: 2000 }, () => {
      const chunk = Buffer.from(random.bytes(random.pick([0, 1, 10, 100, 4095, 4096, 4097, 20_000]) + 8))
      const message = messageIn(chunk, 3, chunk.length - 5)
      const payload = Buffer.from(message.payload())
      message.keep(slab)
      expect(message.source).not.toBe(chunk)
      chunk.fill(0)
      return { message, payload }
    })
    for (const { message, payload } of kept) {
      expect(message.payloadLength).toBe(payload.length)
      if (!payload.equals(message.payload())) expect.fail('a payload has changed')
    }
  })

  test.each([
    ['small ones share a page', 100, slabBytes],
    ['a quarter page shares', slabBytes / 4, slabBytes],
    ['more than a quarter page stands alone', slabBytes / 4 + 1, slabBytes / 4 + 1],
    ['large ones stand alone', 1_000_000, 1_000_000],
  ])('%s', (_name, length, pageBytes) => {
    const slab = new Slab()
    const chunk = new Uint8Array(length + 10)
    const messages = Array.from({ length: 3 }, () => messageIn(chunk, 5, 5 + length).keep(slab))
    for (const message of messages) expect(message.source.buffer.byteLength).toBe(pageBytes)
    expect(new Set(messages.map((message) => message.source)).size).toBe(pageBytes === slabBytes ? 1 : 3)
  })

  test('is moved once, and its frame is no longer there to be forwarded', () => {
    const slab = new Slab()
    const message = messageIn(Buffer.from('xxpayloadxx'), 2, 9)
    message.frameStart = 0
    message.frameEnd = 11
    const { source, payloadStart } = message.keep(slab)
    expect(message.frameStart).toBe(-1)
    message.keep(slab)
    expect([message.source, message.payloadStart]).toEqual([source, payloadStart])
    expect(Buffer.from(message.payload()).toString()).toBe('payload')
  })

  test('counts for its bytes, and for what it costs beside them', () => {
    const message = messageIn(new Uint8Array(50), 0, 50)
    expect(message.bytes).toBeGreaterThan(50 + 'topic'.length)
    expect(message.keep(new Slab()).bytes).toBe(message.bytes)
  })
})

test.each([
  [Infinity, 0, -1],
  [5000, 0, 5],
  [5000, 1, 5],
  [5000, 999.5, 5],
  [5000, 1000, 4],
  [5000, 4999, 1],
  [5000, 5000, 0],
  [5000, 6000, 0],
  [0xffff_ffff * 1000, 0, 0xffff_ffff],
])('a message that expires at %d has at %d ms so many seconds left: %d', (expiresAtMs, nowMs, left) => {
  expect(messageIn(new Uint8Array(0), 0, 0, expiresAtMs).expirySecondsLeft(nowMs)).toBe(left)
})
