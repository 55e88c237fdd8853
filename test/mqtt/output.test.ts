import { describe, expect, test } from 'vitest'
import { Message } from '../../src/mqtt/message.ts'
import { Output, Turn } from '../../src/mqtt/output.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { SeededRandom } from '../support/random.ts'
import { FakeStream } from './line.ts'
import { cut } from './reference.ts'

const topic = new TopicTable().named('t')
const [smallPage, largePage] = [2 * 1024, 64 * 1024]

/** One client's output, and how often its turn was asked for. */
function setup(turn = new Turn(() => {})): { turn: Turn; stream: FakeStream; output: Output } {
  const stream = new FakeStream()
  return { turn, stream, output: new Output(stream, turn) }
}

/** QoS 0 PUBLISHes of these payload lengths behind each other in one chunk, as they arrive. Each begins with its number. */
function arrived(...lengths: number[]): { chunk: Buffer; messages: Message[] } {
  const frames = lengths.map((length, number) => {
    const content = Buffer.concat([Buffer.from([0, 1, 0x74]), Buffer.alloc(length, number)])
    const header = [0x30]
    let rest = content.length
    for (; rest > 127; rest >>= 7) header.push((rest & 127) | 128)
    return Buffer.concat([Uint8Array.from([...header, rest]), content])
  })
  const chunk = Buffer.concat(frames)
  let start = 0
  const messages = frames.map((frame, at) => {
    const end = start + frame.length
    const message = new Message(topic, 0, false, chunk, end - lengths[at]!, end, undefined, Infinity, undefined, 4)
    message.frameStart = start
    message.frameEnd = start = end
    return message
  })
  return { chunk, messages }
}

describe('a turn', () => {
  test('costs a client one write, whatever it was sent, in order', () => {
    const { turn, stream, output } = setup()
    const { chunk, messages } = arrived(10, 20, 30)
    output.short(0xd0, 0)
    output.forward(messages[0]!)
    output.forward(messages[1]!)
    output.short(0x40, 0x1234)
    output.forward(messages[2]!)
    output.frame(Uint8Array.of(0x90, 3, 0, 1, 0))
    turn.flush()
    const ends = messages.map(({ frameEnd }) => frameEnd)
    expect(stream.writes).toEqual([
      Buffer.concat([
        Buffer.from('d000', 'hex'),
        chunk.subarray(0, ends[1]),
        Buffer.from('40021234', 'hex'),
        chunk.subarray(ends[1], ends[2]),
        Buffer.from('9003000100', 'hex'),
      ]),
    ])
    expect(turn.traffic.packetsOut).toBe(6)
    expect(turn.traffic.bytesOut).toBe(stream.bytes.length)
  })

  test('is asked for once, and flushing asks for no other', () => {
    let asked = 0
    const turn = new Turn(() => asked++)
    const first = setup(turn)
    const second = setup(turn)
    const { messages } = arrived(10, 20)
    first.output.forward(messages[0]!)
    second.output.short(0xd0, 0)
    first.output.forward(messages[1]!)
    expect(asked).toBe(1)
    turn.flush()
    first.stream.take()
    turn.flush()
    expect([asked, first.stream.writes.length, second.stream.writes.length]).toEqual([1, 1, 1])
  })

  test('each asks for itself once it has run', () => {
    const runs: (() => void)[] = []
    const { output, stream } = setup(new Turn((run) => runs.push(run)))
    const { messages } = arrived(10)
    for (let n = 1; n <= 3; n++) {
      output.short(0xd0, 0)
      output.forward(messages[0]!)
      expect(runs.length).toBe(1)
      runs.pop()!()
      expect(runs.length).toBe(0)
      stream.take()
      expect(stream.writes.length).toBe(n)
    }
  })

  test('that lends too much flushes early, and leaves nobody out', () => {
    const runs: (() => void)[] = []
    const turn = new Turn((run) => runs.push(run))
    const clients = Array.from({ length: 40_000 }, () => setup(turn))
    for (const { output } of clients) output.short(0xd0, 0)
    expect(clients[0]!.stream.writes.length).toBe(1)
    expect(clients.at(-1)!.stream.writes.length).toBe(0)
    expect(runs.length).toBe(1)
    runs[0]!()
    for (const { stream } of clients) {
      if (stream.writes.length !== 1) expect.fail('a client was sent nothing')
      stream.take()
    }
    expect(turn.pages.lentBytes).toBe(0)
  })
})

describe('forwarding QoS 0', () => {
  test('frames behind each other in a chunk are one run: a long one is not copied', () => {
    const { turn, stream, output } = setup()
    const written: Uint8Array[] = []
    const write = stream.write.bind(stream)
    stream.write = (bytes, done) => {
      written.push(bytes)
      write(bytes, done)
    }
    const { chunk, messages } = arrived(1000, 1000, 1000, 1000, 1000)
    for (const message of messages) output.forward(message)
    expect(output.waitingBytes).toBe(chunk.length)
    expect(turn.pages.lentBytes).toBe(0)
    turn.flush()
    expect(written.map(({ buffer, length }) => [buffer, length])).toEqual([[chunk.buffer, chunk.length]])
    expect(turn.traffic.packetsOut).toBe(5)
  })

  test('a gap, another chunk, or a frame before ends a run', () => {
    const { turn, stream, output } = setup()
    const one = arrived(1, 2, 3)
    const two = arrived(4, 5)
    for (const message of [one.messages[0]!, one.messages[2]!, two.messages[1]!, two.messages[0]!, one.messages[1]!])
      output.forward(message)
    turn.flush()
    const at = ({ messages, chunk }: typeof one, n: number): Buffer =>
      chunk.subarray(messages[n]!.frameStart, messages[n]!.frameEnd)
    expect(stream.bytes).toEqual(Buffer.concat([at(one, 0), at(one, 2), at(two, 1), at(two, 0), at(one, 1)]))
  })
})

describe('pages', () => {
  test('an idle client has none; one with little has a small one; it grows once', () => {
    const { turn, stream, output } = setup()
    expect(turn.pages.lentBytes).toBe(0)
    output.short(0xd0, 0)
    expect(turn.pages.lentBytes).toBe(smallPage)
    output.frame(Buffer.alloc(smallPage, 1))
    expect(turn.pages.lentBytes).toBe(largePage)
    output.frame(Buffer.alloc(30_000, 2))
    expect(turn.pages.lentBytes).toBe(largePage)
    turn.flush()
    expect(stream.bytes).toEqual(
      Buffer.concat([Buffer.from('d000', 'hex'), Buffer.alloc(smallPage, 1), Buffer.alloc(30_000, 2)]),
    )
    expect(stream.writes.length).toBe(1)
    stream.take()
    expect(turn.pages.lentBytes).toBe(0)
  })

  test('a full one goes at once, and the next begins', () => {
    const { turn, stream, output } = setup()
    const frames = Array.from({ length: 10 }, (_, n) => Buffer.alloc(30_000, n))
    for (const frame of frames) output.frame(frame)
    expect(stream.writes.length).toBe(4)
    turn.flush()
    stream.take()
    turn.flush()
    stream.take()
    expect(stream.bytes.equals(Buffer.concat(frames))).toBe(true)
    expect(turn.pages.lentBytes).toBe(0)
  })

  test('nothing is lent that does not come back, when the client is gone before or after', () => {
    const { messages } = arrived(100, 5000)
    const sends: ((output: Output) => void)[] = [
      (output) => output.short(0xd0, 0),
      (output) => output.frame(Buffer.alloc(100)),
      (output) => output.frame(Buffer.alloc(10_000)),
      (output) => output.frame(Buffer.alloc(100_000)),
      (output) => output.forward(messages[0]!),
      (output) => output.forward(messages[1]!),
      (output) => output.publish(messages[1]!, 0x30, 0, -1, 0, -1, undefined),
    ]
    for (const before of sends)
      for (const after of sends) {
        const { turn, stream, output } = setup()
        before(output)
        turn.flush()
        before(output)
        output.close()
        expect(output.waitingBytes).toBe(output.unsentBytes)
        after(output)
        turn.flush()
        output.end()
        stream.take()
        expect([turn.pages.lentBytes, output.unsentBytes]).toEqual([0, 0])
      }
  })
})

test('a stream that calls back before `write` has returned is told so: what is being written would be lost', () => {
  const early = Object.assign(new FakeStream(), { write: (_: Uint8Array, written: () => void) => written() })
  const turn = new Turn(() => {})
  new Output(early, turn).short(0xd0, 0)
  expect(() => turn.flush()).toThrow('before `write` had returned')
})

describe('a slow client', () => {
  test('has one small write outstanding; what comes meanwhile goes together when it is taken', () => {
    const { turn, stream, output } = setup()
    for (let n = 1; n <= 5; n++) {
      output.short(0x40, n)
      turn.flush()
    }
    expect(stream.writes.length).toBe(1)
    expect([output.unsentBytes, output.waitingBytes, output.writes]).toEqual([4, 20, 0])
    stream.take(1)
    expect(stream.writes.map(({ length }) => length)).toEqual([4, 16])
    expect([output.unsentBytes, output.waitingBytes, output.writes]).toEqual([16, 16, 1])
    stream.take(1)
    expect([output.unsentBytes, output.waitingBytes, output.writes]).toEqual([0, 0, 2])
  })

  test('what was sent in the turn at hand waits for its end, although the write before was taken', () => {
    const { turn, stream, output } = setup()
    output.short(0x40, 1)
    turn.flush()
    output.short(0x40, 2)
    stream.take()
    expect(stream.writes.length).toBe(1)
    turn.flush()
    expect(stream.writes.length).toBe(2)
  })

  test('is told when everything is taken, and not before', () => {
    const { turn, stream, output } = setup()
    let drained = 0
    output.drained = () => drained++
    output.frame(Buffer.alloc(200_000))
    turn.flush()
    expect(stream.writes.map(({ length }) => length)).toEqual([
      largePage,
      largePage,
      largePage,
      200_000 - 3 * largePage,
    ])
    for (let n = 0; n < 3; n++) {
      stream.take(1)
      expect([drained, output.writes]).toEqual([0, n + 1])
    }
    stream.take(1)
    expect([drained, output.unsentBytes]).toEqual([1, 0])
  })

  test('is not told after it is gone', () => {
    const { turn, stream, output } = setup()
    output.drained = () => expect.fail('drained')
    output.short(0xd0, 0)
    turn.flush()
    output.close()
    stream.take()
  })

  test('gets what waits before the end', () => {
    const { stream, output } = setup()
    const { messages, chunk } = arrived(3)
    output.short(0xd0, 0)
    output.forward(messages[0]!)
    output.end()
    expect(stream.bytes).toEqual(Buffer.concat([Buffer.from('d000', 'hex'), chunk]))
    expect(stream.calls).toEqual(['end'])
  })
})

test('whatever is sent in whatever turns, at whatever pace it is taken, comes out whole and in order', () => {
  for (let seed = 0; seed < 100; seed++) {
    const random = new SeededRandom(seed)
    const { turn, stream, output } = setup()
    const expected: Buffer[] = []
    for (let step = 0; step < 60; step++) {
      const { messages, chunk } = arrived(
        ...Array.from({ length: 4 }, () => random.pick([0, 1, 100, 100, 1500, 1500, 5000, 70_000])),
      )
      const message = random.pick(messages)
      const frame = chunk.subarray(message.frameStart, message.frameEnd)
      switch (random.below(6)) {
        case 0:
          for (const each of messages) output.forward(each)
          expected.push(chunk)
          break
        case 1:
          output.forward(message)
          expected.push(frame)
          break
        case 2:
          output.publish(message, 0x30, 0, -1, 0, -1, undefined)
          expected.push(frame)
          break
        case 3:
          output.frame(frame)
          expected.push(frame)
          break
        case 4:
          turn.flush()
          break
        default:
          stream.take(random.below(4))
      }
      const waiting = expected.reduce((sum, { length }) => sum + length, 0) - stream.bytes.length + output.unsentBytes
      if (output.waitingBytes !== waiting) expect.fail(`seed ${seed}: ${output.waitingBytes} wait, not ${waiting}`)
    }
    do {
      turn.flush()
      stream.take()
    } while (stream.untaken > 0)
    if (!stream.bytes.equals(Buffer.concat(expected))) expect.fail(`seed ${seed}: other bytes came out`)
    if (cut(stream.bytes).length !== turn.traffic.packetsOut) expect.fail(`seed ${seed}: packets were counted wrongly`)
    expect([turn.pages.lentBytes, output.waitingBytes, turn.traffic.bytesOut]).toEqual([0, 0, stream.bytes.length])
  }
})
