import { describe, expect, test } from 'vitest'
import { Framer, type FrameSink } from '../../src/mqtt/framer.ts'
import { SeededRandom } from '../support/random.ts'
import { cutAt } from './compare.ts'
import { hex } from './line.ts'

/** Keeps what comes. `onFrame` runs at each frame. */
class Sink implements FrameSink {
  readonly frames: string[] = []
  readonly admitted: [first: number, length: number][] = []
  onFrame: ((frame: string) => void) | undefined = undefined
  refuse: ((first: number, length: number) => boolean) | undefined = undefined

  admit(first: number, length: number): void {
    this.admitted.push([first, length])
    if (this.refuse?.(first, length)) throw new Error(`refused ${length}`)
  }

  frame(chunk: Uint8Array, start: number, body: number, end: number): void {
    const frame = `${show(chunk, start, body)}|${show(chunk, body, end)}`
    this.frames.push(frame)
    this.onFrame?.(frame)
  }
}

function show(chunk: Uint8Array, start: number, end: number): string {
  return Buffer.from(chunk.subarray(start, end)).toString('hex')
}

/** A frame with a content of this length, which its number fills. */
function frameOf(number: number, length: number): Buffer {
  const header = [0x30]
  let rest = length
  for (; rest > 127; rest >>= 7) header.push((rest & 127) | 128)
  return Buffer.concat([Uint8Array.from([...header, rest]), Buffer.alloc(length, number)])
}

describe('frames', () => {
  test.each<[name: string, chunks: string[], frames: string[]]>([
    ['one', ['c000'], ['c000|']],
    ['two in a chunk', ['c000 3001aa'], ['c000|', '3001|aa']],
    ['one in two chunks', ['3002aa', 'bb'], ['3002|aabb']],
    ['one byte by byte', ['30', '02', 'aa', 'bb'], ['3002|aabb']],
    ['a long header byte by byte', ['30', '80', '80', '01', '00'.repeat(16_384)], [`30808001|${'00'.repeat(16_384)}`]],
    ['the end of one and the start of another', ['3002aa', 'bb30', '01cc'], ['3002|aabb', '3001|cc']],
    ['a whole one between two halves', ['3001', 'aac0003001', 'bb'], ['3001|aa', 'c000|', '3001|bb']],
    ['empty chunks', ['', '30', '', '01', '', 'aa', ''], ['3001|aa']],
    ['an empty one over two chunks', ['c0', '00c000'], ['c000|', 'c000|']],
    ['nothing before the end', ['3003aabb'], []],
  ])('%s', (_name, chunks, frames) => {
    const sink = new Sink()
    const framer = new Framer(sink)
    for (const chunk of chunks) framer.receive(hex(chunk))
    expect(sink.frames).toEqual(frames)
  })

  test.each([0, 1, 126, 127, 128, 129, 16_382, 16_383, 16_384, 2_097_151, 2_097_152])('of %i bytes', (length) => {
    const frame = frameOf(7, length)
    for (const cuts of [[], [1], [2], [3], [4], [5], [frame.length - 1]]) {
      const sink = new Sink()
      const framer = new Framer(sink)
      for (const chunk of cutAt(Buffer.concat([frame, hex('c000')]), cuts)) framer.receive(chunk)
      expect(sink.frames.map((it) => it.length)).toEqual([frame.length * 2 + 1, 5])
    }
  })

  test('a large one over a thousand chunks is put together once', () => {
    const sink = new Sink()
    const framer = new Framer(sink)
    const frame = Buffer.from(Array.from({ length: 1_000_000 }, (_, at) => at & 255))
    const whole = Buffer.concat([hex('30c0843d'), frame, hex('c000')])
    for (let at = 0; at < whole.length; at += 1009) framer.receive(whole.subarray(at, at + 1009))
    expect(sink.frames).toEqual([`30c0843d|${frame.toString('hex')}`, 'c000|'])
    expect(sink.admitted.filter(([first]) => first === 0x30)).toEqual([
      [0x30, 1_000_000],
      [0x30, 1_000_000],
    ])
  })
})

describe('a declared length', () => {
  test.each<[name: string, bytes: string]>([
    ['of five bytes', '10ffffffff01'],
    ['of four bytes that goes on', '10ffffffff'],
    ['of two bytes for 0', '108000'],
    ['of four bytes for 127', '10ff808000'],
    ['of three bytes for 128', '10808100'],
  ])('%s is refused, in whatever chunks it comes', (_name, text) => {
    const bytes = hex(text)
    for (let cut = 1; cut <= bytes.length; cut++) {
      const framer = new Framer(new Sink())
      const chunks = cutAt(bytes, [cut])
      expect(() => chunks.forEach((chunk) => framer.receive(chunk)), `cut at ${cut}`).toThrow(/remaining length/)
    }
    const framer = new Framer(new Sink())
    expect(() => bytes.forEach((byte) => framer.receive(Uint8Array.of(byte)))).toThrow(/remaining length/)
  })

  test('is refused before anything of the packet is taken, also when its header comes byte by byte', () => {
    for (const cuts of [[], [1], [2], [3], [4], [1, 2, 3, 4]]) {
      const sink = new Sink()
      sink.refuse = (_first, length) => length > 65_536
      const framer = new Framer(sink)
      const chunks = cutAt(hex('10ffffff7f'), cuts)
      expect(() => chunks.forEach((chunk) => framer.receive(chunk))).toThrow('refused 268435455')
      expect(sink.frames).toEqual([])
    }
  })

  test('a first byte is refused before its length has come', () => {
    const sink = new Sink()
    sink.refuse = (first) => first !== 0x10
    expect(() => new Framer(sink).receive(hex('30'))).toThrow('refused 0')
    expect(() => new Framer(sink).receive(hex('c0ff'))).toThrow('refused 0')
  })

  test('takes no memory that it only promises', () => {
    const before = process.memoryUsage().arrayBuffers
    const framers = Array.from({ length: 1000 }, () => new Framer(new Sink()))
    for (const framer of framers) for (const byte of hex('30ffffff7f 00 01 61')) framer.receive(Uint8Array.of(byte))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4_000_000)
  })
})

describe('hold and release', () => {
  test('in the middle of a chunk: the rest comes later, in order, and so do later chunks', () => {
    const sink = new Sink()
    const framer = new Framer(sink)
    sink.onFrame = (frame) => frame === '3001|02' && framer.hold()
    framer.receive(hex('300101 300102 300103 3001'))
    framer.receive(hex('04 3001'))
    expect(sink.frames).toEqual(['3001|01', '3001|02'])
    framer.release()
    framer.receive(hex('05'))
    expect(sink.frames).toEqual(['3001|01', '3001|02', '3001|03', '3001|04', '3001|05'])
  })

  test('a release that holds again, at each packet', () => {
    const sink = new Sink()
    const framer = new Framer(sink)
    sink.onFrame = () => framer.hold()
    framer.receive(hex('300101 300102 3001'))
    framer.receive(hex('03 300104'))
    for (const number of [1, 2, 3, 4]) {
      expect(sink.frames.at(-1)).toBe(`3001|0${number}`)
      framer.release()
    }
    expect(sink.frames.length).toBe(4)
  })

  test('nothing comes out after it is closed, held or not', () => {
    const sink = new Sink()
    const framer = new Framer(sink)
    sink.onFrame = () => framer.close()
    framer.receive(hex('300101 300102 30'))
    framer.release()
    expect(sink.frames).toEqual(['3001|01'])
  })

  test('any packets in any chunks with any holds come out once, whole and in order', () => {
    for (let seed = 0; seed < 2000; seed++) {
      const random = new SeededRandom(seed)
      const lengths = Array.from({ length: 1 + random.below(8) }, () => random.pick([0, 1, 2, 5, 127, 128, 300]))
      const frames = lengths.map((length, number) => frameOf(number, length))
      const bytes = Buffer.concat(frames)
      const cuts = Array.from({ length: random.below(6) }, () => random.below(bytes.length + 1)).sort((a, b) => a - b)
      const sink = new Sink()
      const framer = new Framer(sink)
      let held = false
      sink.onFrame = () => {
        if (held) expect.fail(`seed ${seed}: a packet came while they were held`)
        if (!random.once(3)) return
        held = true
        framer.hold()
      }
      for (const chunk of cutAt(bytes, cuts)) {
        framer.receive(chunk)
        if (!held || random.once(2)) continue
        held = false
        framer.release()
      }
      for (let times = 0; held && times <= frames.length; times++) {
        held = false
        framer.release()
      }
      const whole = frames.map((frame) => frame.toString('hex'))
      expect(
        sink.frames.map((frame) => frame.replace('|', '')),
        `seed ${seed}`,
      ).toEqual(whole)
    }
  })
})
