import { describe, expect, test } from 'vitest'
import { type Greeting, writeGreeting } from '../../src/cluster/greeting.ts'
import type { LinkEnd } from '../../src/cluster/link.ts'
import { FrameType, WireError } from '../../src/cluster/wire.ts'
import type { Stream, StreamEvents } from '../../src/host.ts'
import { CorruptRecordError, RecordWriter } from '../../src/store/writer.ts'
import { Diary, Node, VirtualNet } from './links-net.ts'

// Peers that do not do what a node does: each link is closed, counted, and told of once, and nobody hears of it but of what
// was in order.

const creditBytes = 10_000

/** A length, and what stands behind it. */
function framed(content: Uint8Array, length = content.length): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt32LE(length)
  return Buffer.concat([head, content])
}

function frame(type: number, write: (writer: RecordWriter) => void = () => {}): Buffer {
  const writer = new RecordWriter()
  writer.u8(type)
  write(writer)
  return framed(writer.view())
}

function greeting(changes: Partial<Greeting> = {}): Buffer {
  const usual = { clusterId: 'cluster', oldest: 1, newest: 2, features: [], node: 'b', incarnation: 5, address: 'b:1' }
  return Buffer.from(writeGreeting({ ...usual, creditBytes, ...changes }))
}

const welcome = frame(FrameType.welcome)
const publish = (number: number, bytes = 10) =>
  frame(FrameType.publish, (writer) => {
    writer.varint(number)
    writer.bytes(Buffer.alloc(bytes, number & 0xff), 0, bytes)
  })
const credit = (bytes: number) => frame(FrameType.credit, (writer) => writer.varint(bytes))
const goodbye = (...texts: string[]) =>
  frame(FrameType.goodbye, (writer) => {
    for (const text of texts) writer.text(text)
  })
const up = [greeting(), welcome]

/** A part that takes nothing for granted. */
class Strict extends Diary {
  override frame(...args: Parameters<Diary['frame']>): void {
    if (args[1] === FrameType.fence) throw new WireError('a fence that nobody wants')
    if (args[1] === FrameType.fenced) throw new CorruptRecordError('half a fence')
    super.frame(...args)
  }
}

/** Dials `node`, has the certificate of `b`, and says what it likes. */
class Stranger implements Stream {
  readonly remote = 'stranger:1'
  readonly events: StreamEvents
  closed = false
  heard = Buffer.alloc(0)

  constructor(
    readonly net: VirtualNet,
    node: Node,
  ) {
    this.events = node.links.accept(this, 'b')
  }

  say(bytes: readonly Uint8Array[]): void {
    for (const chunk of bytes) if (!this.closed) this.events.data(chunk)
  }

  write(bytes: Uint8Array, written: () => void): void {
    this.heard = Buffer.concat([this.heard, bytes])
    this.net.time.after(0, written)
  }

  pause(): void {}

  end(): void {
    this.closed = true
  }

  destroy(): void {
    this.closed = true
  }
}

function world() {
  const net = new VirtualNet(1)
  const diary = new Strict()
  const a = new Node(net, 'a', 'a:1', { parts: [diary], limits: { creditBytes, frameBytes: 100_000 } })
  return { net, a, diary }
}

const ends = ({ links }: Node) => Object.entries(links.ended).filter(([, count]) => count > 0)

interface Case {
  readonly what: string
  readonly says: readonly Uint8Array[]
  readonly end: LinkEnd
  readonly why: string | RegExp
  /** What happens then. */
  readonly then?: (stranger: Stranger, net: VirtualNet) => void
}

const wait = (ms: number) => (_: Stranger, net: VirtualNet) => net.run(ms)
const malformed = (what: string, why: string | RegExp, ...says: Uint8Array[]): Case => {
  return { what, says, end: 'malformed', why }
}
const refused = (what: string, why: string, changes: Partial<Greeting>): Case => {
  return { what, says: [greeting(changes)], end: 'refused', why }
}

const cases: readonly Case[] = [
  malformed('no length', 'a frame without a type', framed(Buffer.alloc(0))),
  malformed('a greeting that is too long', /^a frame of 4097 bytes/, framed(Buffer.alloc(4097))),
  malformed('a length of 4 GiB', /^a frame of 4294967295 bytes/, Buffer.from('ffffffff', 'hex')),
  malformed('another protocol', /^a frame of \d+ bytes/, Buffer.from('GET / HTTP/1.1\r\n\r\n')),
  malformed('a greeting of nobody', 'no greeting of a node', framed(Buffer.from('hello, here I am'))),
  malformed('half a greeting', 'a greeting that is cut short', framed(greeting().subarray(4, 20))),
  malformed(
    'a greeting with too much in it',
    'a greeting with 65 features',
    greeting({ features: Array.from({ length: 65 }, String) }),
  ),
  malformed('no credit', 'a greeting that gives no credit', greeting({ creditBytes: 0 })),
  malformed('versions that are none', 'a greeting with wire versions 2 to 1', greeting({ oldest: 2, newest: 1 })),
  malformed('something before it was welcomed', /^a frame of type 49 before/, greeting(), publish(0)),
  malformed('two greetings', /^a frame of type \d+ before/, greeting(), greeting()),
  malformed('half a goodbye', /shorter than its fields/, greeting(), goodbye('closed')),
  malformed('half a frame of ours', /shorter than its fields/, ...up, frame(FrameType.credit)),
  malformed(
    'a number without an end',
    /53 bits/,
    ...up,
    frame(FrameType.credit, (writer) => writer.bytes(Buffer.alloc(20, 0xff), 0, 20)),
  ),
  malformed('credit for what was never sent', /^credit for what/, ...up, credit(1)),
  malformed('no length, later', 'a frame without a type', ...up, publish(0), framed(Buffer.alloc(0))),
  malformed('a frame that is too long', /^a frame of 100001 bytes/, ...up, framed(Buffer.alloc(1), 100_001)),
  malformed('what a part takes for none', 'a fence that nobody wants', ...up, frame(FrameType.fence)),
  malformed('half a frame of a part', 'half a fence', ...up, frame(FrameType.fenced)),
  refused('another cluster', 'it is of cluster x, and not of cluster', { clusterId: 'x' }),
  refused('older versions', 'b speaks wire version 0, and a speaks versions 1 to 2', { oldest: 0, newest: 0 }),
  refused('newer versions', 'b speaks wire versions 3 to 9, and a speaks versions 1 to 2', { oldest: 3, newest: 9 }),
  refused('another name', 'it calls itself z, and its certificate says b', { node: 'z' }),
  { what: 'a goodbye', says: [greeting(), goodbye('refused', 'no')], end: 'refused', why: 'b refuses us: no' },
  { what: 'a goodbye of a later version', says: [...up, goodbye('bored', 'of you')], end: 'closed', why: 'of you' },
  { what: 'silence', says: [], end: 'ungreeted', why: 'no greeting in time', then: wait(5200) },
  {
    what: 'half a greeting, and silence',
    says: [greeting().subarray(0, 9)],
    end: 'ungreeted',
    why: 'no greeting in time',
    then: wait(5200),
  },
  { what: 'no welcome', says: [greeting()], end: 'ungreeted', why: 'no greeting in time', then: wait(5200) },
  { what: 'silence, later', says: [...up, publish(0)], end: 'silent', why: 'nothing for 6 s', then: wait(6300) },
  {
    what: 'the end of the stream',
    says: [...up, publish(0)],
    end: 'closed',
    why: 'the peer has closed it',
    then: ({ events }) => events.closed(),
  },
  {
    what: 'a broken stream, within a frame',
    says: [...up, publish(0), publish(1).subarray(0, 7)],
    end: 'broken',
    why: 'read ECONNRESET',
    then: ({ events }) => events.closed(new Error('read ECONNRESET')),
  },
]

describe('a link that ends badly', () => {
  test.each(cases)('$what: $end', ({ says, end, why, then }) => {
    const { net, a, diary } = world()
    const rounds = 4
    for (let round = 1; round <= rounds; round++) {
      const stranger = new Stranger(net, a)
      stranger.say(says)
      then?.(stranger, net)
      net.run(10)
      if (then === undefined) expect(stranger.closed).toBe(true)
      expect(ends(a)).toEqual([[end, round]])
      expect(a.peers).toEqual([])
      // It may say on what it wants.
      stranger.events.data(publish(7))
      stranger.events.closed()
      expect(ends(a)).toEqual([[end, round]])
    }
    const told = a.log.filter((line) => line.why !== undefined && line.level !== 'debug')
    // A link that was up has put things right: if it breaks again, that is news.
    const wasUp = diary.lines.length > 0
    expect(told.length).toBe(wasUp ? rounds : 1)
    for (const line of told) expect(line.why).toMatch(why)
    expect(diary.lines).toEqual(wasUp ? Array.from({ length: rounds }, () => ['+b', '-b']).flat() : [])
    for (const { numbers } of diary.runs) expect([[], [0]]).toContainEqual(numbers)
    // Nothing is left that a tick would find.
    const lines = a.log.length
    net.run(60_000)
    expect(a.log.length).toBe(lines)
  })
})

test('credit that goes back', () => {
  const { net, a } = world()
  const stranger = new Stranger(net, a)
  stranger.say(up)
  for (let sent = 0; sent < 5; sent++) a.send('b', 100)
  stranger.say([credit(300), credit(200)])
  expect(ends(a)).toEqual([['malformed', 1]])
})

test('types that nobody knows are passed over', () => {
  const { net, a, diary } = world()
  const stranger = new Stranger(net, a)
  stranger.say([...up, frame(0x05), frame(0x3f, (writer) => writer.varint(0)), frame(0x71), frame(0xff), publish(1)])
  expect(ends(a)).toEqual([])
  expect(diary.runs[0]!.numbers).toEqual([0, 1])
})

test('who does not wait for credit gains nothing: what comes is handled as it comes, and credit is told for it', () => {
  const { net, a, diary } = world()
  const stranger = new Stranger(net, a)
  stranger.say(up)
  const count = 1000
  for (let sent = 0; sent < count; sent++) stranger.say([publish(sent, 1000)])
  net.run(10)
  expect(diary.runs[0]!.numbers.length).toBe(count)
  expect(ends(a)).toEqual([])
})

test('an older start of a node does not take the place of a newer one, and a newer one does', () => {
  const { net, a, diary } = world()
  const first = new Stranger(net, a)
  first.say(up)
  const older = new Stranger(net, a)
  older.say([greeting({ incarnation: 4 }), welcome, publish(4)])
  expect([first.closed, older.closed, diary.lines]).toEqual([false, true, ['+b']])
  const newer = new Stranger(net, a)
  newer.say([greeting({ incarnation: 6 }), welcome])
  expect([first.closed, newer.closed, diary.lines]).toEqual([true, false, ['+b', '-b', '+b']])
  first.events.data(publish(9))
  newer.say([publish(0)])
  expect(diary.runs.map(({ numbers }) => numbers)).toEqual([[], [0]])
})

test('cut at every byte, and in two at every byte: what was whole has arrived, and nothing else', () => {
  const says = [...up, publish(0), credit(0), publish(1, 300), publish(2, 0)]
  const bytes = Buffer.concat(says)
  const wholeBefore = (at: number) => {
    let end = 0
    return says.filter((part) => (end += part.length) <= at).filter((part) => part[4] === FrameType.publish).length
  }
  for (let at = 0; at <= bytes.length; at++) {
    const { net, a, diary } = world()
    const stranger = new Stranger(net, a)
    stranger.events.data(bytes.subarray(0, at))
    stranger.events.closed()
    expect(ends(a), `cut at ${at}`).toEqual([['closed', 1]])
    expect(diary.runs.flatMap(({ numbers }) => numbers).length, `cut at ${at}`).toBe(wholeBefore(at))
    const whole = new Stranger(net, a)
    whole.say([bytes.subarray(0, at), bytes.subarray(at)].filter(({ length }) => length > 0))
    expect(diary.runs.at(-1)!.numbers, `in two at ${at}`).toEqual([0, 1, 2])
  }
})
