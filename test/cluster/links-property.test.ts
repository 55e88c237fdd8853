import { describe, expect, test } from 'vitest'
import { Deframer } from '../../src/cluster/deframer.ts'
import { FrameOutput, FramePages } from '../../src/cluster/frame-output.ts'
import { FrameType, WireError } from '../../src/cluster/wire.ts'
import type { Stream } from '../../src/host.ts'
import { Dice } from '../sim/dice.ts'
import { Node, VirtualNet } from './links-net.ts'
import { storm } from './links-storm.ts'

const seeds = (count: number) => Array.from({ length: count }, (_, seed) => seed)

describe('frames', () => {
  /** What an output hands to its stream, which takes it when it is told to. */
  function written(dice: Dice, sizes: readonly number[]): Buffer {
    const chunks: Buffer[] = []
    const takings: (() => void)[] = []
    const stream = {
      write(bytes: Uint8Array, taken: () => void) {
        const place = chunks.push(Buffer.alloc(0)) - 1
        // Not sooner: a page that is used again too early shows.
        takings.push(() => {
          chunks[place] = Buffer.from(bytes)
          taken()
        })
      },
    } as unknown as Stream
    const output = new FrameOutput(stream, new FramePages())
    sizes.forEach((size, number) => {
      const writer = output.begin(0x31)
      const filling = Buffer.alloc(size, number & 0xff)
      // In pieces, so that it outgrows its page anywhere.
      const cut = dice.below(size + 1)
      writer.bytes(filling, 0, cut)
      writer.bytes(filling, cut, size)
      expect(output.end()).toBe(size + 5)
      if (dice.once(4)) output.flush()
      if (dice.once(3)) takings.shift()?.()
    })
    for (output.flush(); takings.length > 0;) takings.shift()!()
    expect(output.waitingBytes).toBe(0)
    return Buffer.concat(chunks)
  }

  function read(deframer: Deframer, chunks: Iterable<Uint8Array>): { sizes: number[]; filled: boolean } {
    const sizes: number[] = []
    let filled = true
    for (const chunk of chunks)
      deframer.take(chunk, {
        framed(bytes, start, end) {
          filled &&= bytes[start] === 0x31
          for (let at = start + 1; at < end; at++) filled &&= bytes[at] === (sizes.length & 0xff)
          sizes.push(end - start - 1)
          return true
        },
      })
    return { sizes, filled }
  }

  function* pieces(dice: Dice, bytes: Buffer, most: number): Iterable<Buffer> {
    for (let at = 0; at < bytes.length;) {
      const next = at + 1 + dice.below(most)
      yield bytes.subarray(at, next)
      at = next
    }
  }

  test('are what they were, whatever their sizes and however they are cut', () => {
    for (const seed of seeds(60)) {
      const dice = new Dice(seed)
      const scale = dice.pick([3, 300, 5000, 100_000])
      const sizes = Array.from({ length: 40 }, () => dice.below(scale))
      const bytes = written(dice, sizes)
      for (const most of [1, 7, 1000, 65_536, bytes.length])
        if (bytes.length / most < 100_000)
          expect(read(new Deframer(1e6), pieces(dice, bytes, most)), `seed ${seed}`).toEqual({ sizes, filled: true })
    }
  })

  test('a large one in small pieces is copied a few times, not once for each piece', () => {
    const bytes = written(new Dice(1), [16 * 1024 * 1024])
    // Or this test would take an hour.
    const { sizes } = read(new Deframer(1e8), pieces(new Dice(1), bytes, 200))
    expect(sizes).toEqual([16 * 1024 * 1024])
  })

  test('memory follows what came, and not what was announced', () => {
    const before = process.memoryUsage().arrayBuffers
    const deframers = Array.from({ length: 1000 }, () => {
      const deframer = new Deframer(1e9)
      deframer.take(Buffer.from('00ca9a3b31', 'hex'), { framed: () => true })
      return deframer
    })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(deframers.length * 2000)
  })

  test('a length that is none', () => {
    const sink = { framed: () => true }
    expect(() => new Deframer(100).take(Buffer.from('6500000031', 'hex'), sink)).toThrow(WireError)
    expect(() => new Deframer(100).take(Buffer.from('ffffffff31', 'hex'), sink)).toThrow('4294967295')
    expect(() => new Deframer(100).take(Buffer.from('0000000031', 'hex'), sink)).toThrow(WireError)
  })

  test('nothing is read behind the frame that ended the link', () => {
    let count = 0
    const sink = { framed: () => ++count < 2 }
    new Deframer(100).take(Buffer.from('0100000031'.repeat(5), 'hex'), sink)
    expect(count).toBe(2)
    count = 0
    const deframer = new Deframer(100)
    deframer.take(Buffer.from('0100', 'hex'), sink)
    deframer.take(Buffer.from(`000031${'0100000031'.repeat(5)}`, 'hex'), sink)
    expect(count).toBe(2)
  })
})

test('breaks at every byte: both ends agree, and what arrived is a beginning of what was sent', () => {
  for (let breakAt = 1; breakAt < 900; breakAt += breakAt < 200 ? 1 : 7) {
    const net = new VirtualNet(breakAt)
    const a = new Node(net, 'a', 'a:1')
    const b = new Node(net, 'b', 'b:1')
    let first = true
    net.opened = (dialler) => {
      if (first) (breakAt % 2 ? dialler : dialler.other).budget = breakAt
      first = false
    }
    a.links.reach('b', 'b:1')
    if (breakAt % 3 === 0) b.links.reach('a', 'a:1')
    // Only while a link is up: a peer that is gone is no reason to stop counting.
    for (let turn = 0; turn < 400; turn++) {
      a.send('b', 1 + (turn % 40))
      b.send('a', 1 + (turn % 30))
      net.run(1)
    }
    net.run(3000)
    expect([a.peers, b.peers], `break at ${breakAt}`).toEqual([['b'], ['a']])
    expect([a.heard(b), b.heard(a)], `break at ${breakAt}`).toEqual([true, true])
    for (const node of [a, b]) {
      expect(node.diary.lines.filter((line) => line.startsWith('+')).length).toBe(
        node.diary.lines.filter((line) => line.startsWith('-')).length + 1,
      )
      expect(node.links.ended.malformed).toBe(0)
    }
  }
})

test('storms: everybody dials everybody, links break, nodes start anew; then there is one link for each pair', () => {
  for (const seed of seeds(Number(process.env.LINK_SEEDS ?? 40))) expect(storm(seed), `seed ${seed}`).toEqual([])
})

test('a seed runs the same way twice', () => {
  const trace = (seed: number): string => {
    const net = new VirtualNet(seed)
    const [a, b] = [new Node(net, 'a', 'a:1'), new Node(net, 'b', 'b:1')]
    a.links.reach('b', 'b:1')
    b.links.reach('a', 'a:1')
    for (let turn = 0; turn < 100; turn++) {
      a.send('b', turn, FrameType.unserved)
      net.run(3)
    }
    return JSON.stringify([net.time.seq, a.diary.lines, b.diary.runs, b.log])
  }
  expect(trace(7)).toBe(trace(7))
})
