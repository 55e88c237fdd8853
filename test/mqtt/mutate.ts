import type { SeededRandom } from '../support/random.ts'
import { blocksOf, standardProperties } from './blocks.ts'
import type { Vector } from './compare.ts'
import { cut } from './reference.ts'

// What chance and malice make of valid packets.

/** One to three mutations of one vector, or of several behind each other. */
export function mutate(random: SeededRandom, corpus: readonly Vector[]): Vector {
  const vector = random.pick(corpus)
  let bytes = vector.bytes
  let name = vector.name
  for (let times = 1 + random.below(3); times > 0; times--) {
    const mutation = random.pick(mutations)
    bytes = mutation(bytes, random, corpus)
    name += `, ${mutation.name}`
  }
  while (random.once(6)) bytes = Buffer.concat([bytes, random.pick(corpus).bytes])
  return { name, version: vector.version, bytes }
}

/** One mutation of bytes, in the first packet of which there is most to break. */
export function mutateBytes(bytes: Uint8Array, random: SeededRandom, corpus: readonly Vector[]): Uint8Array {
  return random.pick(mutations)(bytes, random, corpus)
}

type Mutation = (bytes: Uint8Array, random: SeededRandom, corpus: readonly Vector[]) => Uint8Array

// Functions with names, so that a failure can say what was done.
const mutations: readonly Mutation[] = [
  // The bytes as they are: headers change, and lengths lie.
  flipBit,
  setByte,
  insert,
  remove,
  repeat,
  truncate,
  lengthen,
  splice,
  lyingLength,
  longLength,
  firstByte,
  // The content changes, and the header follows, so that the mutant gets further.
  inside(flipBit),
  inside(setByte),
  inside(insert),
  inside(remove),
  inside(repeat),
  inside(truncate),
  inside(lengthen),
  inside(splice),
  innerLength,
  innerLength,
  badText,
  badText,
  addProperty,
  addProperty,
  addProperty,
  repeatProperty,
  repeatProperty,
  dropProperty,
  blockLength,
]

function flipBit(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return changed(bytes, random.below(bytes.length), (byte) => byte ^ (1 << random.below(8)))
}

function setByte(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return changed(bytes, random.below(bytes.length), () =>
    random.pick([0, 1, 2, 3, 0x7f, 0x80, 0xff, random.below(256)]),
  )
}

function insert(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return replaced(bytes, random.below(bytes.length + 1), 0, random.bytes(1 + random.below(4)))
}

function remove(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return replaced(bytes, random.below(bytes.length), 1 + random.below(4), [])
}

function repeat(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  const at = random.below(bytes.length)
  return replaced(bytes, at, 0, bytes.slice(at, at + 1 + random.below(12)))
}

function truncate(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return bytes.slice(0, random.below(bytes.length))
}

function lengthen(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return replaced(bytes, bytes.length, 0, random.bytes(1 + random.below(8)))
}

function splice(bytes: Uint8Array, random: SeededRandom, corpus: readonly Vector[]): Uint8Array {
  const other = random.pick(corpus).bytes
  const from = other.slice(random.below(other.length))
  return replaced(bytes, random.below(bytes.length), random.below(16), from.slice(0, random.below(32)))
}

function firstByte(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return changed(bytes, 0, () => random.below(256))
}

/** The remaining length says something else than there is. */
function lyingLength(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  const { body, content } = partsOf(bytes)
  const lie = random.pick([0, 1, content - 1, content + 1, content * 2, 16_380, 65_535, 268_435_455])
  return replaced(bytes, 1, body - 1, varint(Math.max(0, lie)))
}

/** The remaining length is longer than needed, or too long. */
function longLength(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  const { body } = partsOf(bytes)
  const length = [...bytes.slice(1, body)]
  if (length.length === 0) return bytes
  length[length.length - 1]! |= 0x80
  return replaced(bytes, 1, body - 1, [
    ...length,
    ...Array<number>(random.below(4)).fill(random.pick([0x80, 0xff])),
    random.below(2),
  ])
}

/** Some two bytes become a length that lies: nearly right, nothing, the rest, too much. */
function innerLength(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return within(bytes, (content) => {
    const at = random.below(Math.max(1, content.length - 1))
    const now = ((content[at] ?? 0) << 8) | (content[at + 1] ?? 0)
    const rest = Math.max(0, content.length - at - 2)
    const lie = random.pick([
      0,
      rest,
      rest + 1,
      Math.max(0, rest - 1),
      now + 1,
      Math.max(0, now - 1),
      65_535,
      random.below(65_536),
    ])
    return replaced(content, at, 2, [(lie >> 8) & 255, lie & 255])
  })
}

const texts = [
  '',
  '\0',
  '\n',
  '\u007f',
  '\u0085',
  '\ufeff',
  '\uffff',
  '\ufdd0',
  '\u{1ffff}',
  '#',
  '+',
  'a/#',
  '+/',
  '$share/',
  '/'.repeat(100),
]
const badBytes = ['c080', 'eda080', 'f4908080', 'ff', 'e28200', 'c3', 'f0808080'].map((text) =>
  Buffer.from(text, 'hex'),
)

/** A text that a name may not have, with its right length, before or over something. */
function badText(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return within(bytes, (content) => {
    const bad = random.once(2) ? Buffer.from(random.pick(texts)) : random.pick(badBytes)
    const at = random.below(content.length + 1)
    if (random.once(2)) return replaced(content, at, bad.length, bad)
    return replaced(content, at, random.below(4), [bad.length >> 8, bad.length & 255, ...bad])
  })
}

/** Any property, in any block of the packet, at any place in it. */
function addProperty(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return withinBlock(bytes, random, (content, ends) => {
    const text = Buffer.from(random.pick([...texts, 'a', 'b/c', 'm']))
    const prefixed = [text.length >> 8, text.length & 255, ...text]
    const [id, , kind] = random.pick(standardProperties)
    const value = {
      flag: () => [random.below(3)],
      u16: () => [0, random.below(40)],
      u32: () => [0, 0, 0, random.below(3)],
      varint: () => varint(random.pick([0, 1, 127, 128, 268_435_455])),
      text: () => prefixed,
      binary: () => prefixed,
      pair: () => [...prefixed, ...prefixed],
    }[kind]()
    return replaced(content, random.pick(ends), 0, [random.once(20) ? random.below(256) : id, ...value])
  })
}

function repeatProperty(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return withinBlock(bytes, random, (content, ends) => {
    const at = random.below(ends.length)
    const one = content.slice(at === 0 ? 0 : ends[at - 1], ends[at])
    const times = random.once(20) ? 70 : 1
    return replaced(content, random.pick(ends), 0, Buffer.concat(Array<Uint8Array>(times).fill(one)))
  })
}

function dropProperty(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  return withinBlock(bytes, random, (content, ends) => {
    const at = random.below(ends.length)
    const start = at === 0 ? 0 : ends[at - 1]!
    return replaced(content, start, ends[at]! - start, [])
  })
}

/** The property length says something else than there is. */
function blockLength(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  const block = blockOf(bytes, random)
  if (!block) return bytes
  const length = block.end - block.start
  const lie = random.pick([0, Math.max(0, length - 1), length + 1, length + 2, bytes.length, 16_384, 268_435_455])
  return within(bytes, (content, body) => replaced(content, block.at - body, block.start - block.at, varint(lie)))
}

/** A mutation of the content alone. */
function inside(mutation: Mutation): Mutation {
  const named = {
    [`${mutation.name} inside`]: (bytes: Uint8Array, random: SeededRandom, corpus: readonly Vector[]) =>
      within(bytes, (content) => mutation(content, random, corpus)),
  }
  return Object.values(named)[0]!
}

/** Changes the content of the first packet, and keeps its header true. */
function within(bytes: Uint8Array, change: (content: Uint8Array, body: number) => Uint8Array): Uint8Array {
  const { body, end } = partsOf(bytes)
  if (body === 0) return bytes
  const content = change(bytes.slice(body, end), body)
  return Buffer.concat([bytes.subarray(0, 1), Uint8Array.from(varint(content.length)), content, bytes.subarray(end)])
}

/** Changes the content of a property block, and keeps all lengths true. `ends`: where its properties end. */
function withinBlock(
  bytes: Uint8Array,
  random: SeededRandom,
  change: (content: Uint8Array, ends: number[]) => Uint8Array,
): Uint8Array {
  const block = blockOf(bytes, random)
  if (!block) return bytes
  let at = 0
  const ends = block.properties.map(({ value }) => (at += 1 + value.length))
  const inner = change(bytes.slice(block.start, block.end), ends.length > 0 ? ends : [0])
  const whole = [...varint(inner.length), ...inner]
  return within(bytes, (content, body) => replaced(content, block.at - body, block.end - block.at, whole))
}

/** A block of the first packet, taken for one of version 5. */
function blockOf(bytes: Uint8Array, random: SeededRandom): ReturnType<typeof blocksOf>[number] | undefined {
  const { body, end } = partsOf(bytes)
  if (body === 0) return undefined
  const blocks = blocksOf({ bytes: bytes.subarray(0, end), body }).filter(
    (block) => block.fits && block.start > block.at,
  )
  return blocks.length > 0 ? random.pick(blocks) : undefined
}

/** The header of the first packet. `body` is 0 when it is not complete. */
function partsOf(bytes: Uint8Array): { body: number; end: number; content: number } {
  const [packet] = cut(bytes)
  if (!packet || packet.body === 0) return { body: 0, end: bytes.length, content: 0 }
  return { body: packet.body, end: packet.bytes.length, content: packet.bytes.length - packet.body }
}

function changed(bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  return bytes.length === 0 ? bytes : replaced(bytes, at, 1, [change(bytes[at]!) & 255])
}

function replaced(bytes: Uint8Array, at: number, count: number, by: ArrayLike<number>): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), Uint8Array.from(by), bytes.subarray(at + count)])
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (; value > 127; value >>= 7) bytes.push((value & 127) | 128)
  return [...bytes, value]
}
