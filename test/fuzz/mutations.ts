import type { Vector } from '../mqtt/compare.ts'
import { smallVectors } from '../mqtt/corpus.ts'
import { mutateBytes } from '../mqtt/mutate.ts'
import type { SeededRandom } from '../support/random.ts'
import { type Script, slots, type Step } from './script.ts'

// What chance and malice make of a script: its packets, their order, their chunks, and who sends them.

type Mutation = (script: Step[], random: SeededRandom, pool: readonly Script[]) => Step[]
type Send = Extract<Step, { do: 'send' }>

const packets: readonly Vector[] = smallVectors()
const mostSteps = 60

/** A script of the pool, or two of them at once, with one to five mutations. */
export function mutateScript(random: SeededRandom, pool: readonly Script[]): Step[] {
  let script = [...random.pick(pool)]
  if (random.once(6)) script = interleave(script, random, pool)
  for (let times = 1 + random.below(5); times > 0; times--) {
    const next = random.pick(mutations)(script, random, pool)
    if (next.length > 0) script = next
  }
  return script.length > mostSteps ? script.slice(0, mostSteps) : script
}

// As often as they stand here.
const mutations: readonly Mutation[] = [
  changePacket,
  changePacket,
  changePacket,
  changePacket,
  changePacket,
  changePacket,
  addPacket,
  addPacket,
  addMonster,
  drop,
  repeat,
  swap,
  move,
  handOver,
  splice,
  interleave,
  split,
  split,
  join,
  join,
  rename,
  event,
  event,
  pause,
]

function changePacket(script: Step[], random: SeededRandom): Step[] {
  return changed(script, random, (bytes) => mutateBytes(bytes, random, packets))
}

/** A packet that was not asked for, mutated or not, from somebody who is there. */
function addPacket(script: Step[], random: SeededRandom): Step[] {
  const vector = random.pick(packets)
  const bytes = random.once(2) ? vector.bytes : mutateBytes(vector.bytes, random, packets)
  return inserted(script, random, { do: 'send', on: slotOf(script, random), bytes: Uint8Array.from(bytes) })
}

function addMonster(script: Step[], random: SeededRandom): Step[] {
  if (!random.once(8)) return changePacket(script, random)
  return inserted(script, random, { do: 'send', on: slotOf(script, random), bytes: random.pick(monsters) })
}

function drop(script: Step[], random: SeededRandom): Step[] {
  return script.toSpliced(random.below(script.length), 1)
}

function repeat(script: Step[], random: SeededRandom): Step[] {
  const at = random.below(script.length)
  const some = script.slice(at, at + 1 + random.below(4))
  const times = random.once(10) ? 8 : 1
  return script.toSpliced(at, 0, ...Array<Step[]>(times).fill(some).flat())
}

function swap(script: Step[], random: SeededRandom): Step[] {
  const [one, other] = [random.below(script.length), random.below(script.length)]
  return script.with(one, script[other]!).with(other, script[one]!)
}

function move(script: Step[], random: SeededRandom): Step[] {
  const [step] = script.splice(random.below(script.length), 1)
  return inserted(script, random, step!)
}

/** One step is done by somebody else. */
function handOver(script: Step[], random: SeededRandom): Step[] {
  const at = random.below(script.length)
  const step = script[at]!
  return step.do === 'wait' ? script : script.with(at, { ...step, on: random.below(slots) })
}

/** The head of one script and the tail of another. */
function splice(script: Step[], random: SeededRandom, pool: readonly Script[]): Step[] {
  const other = random.pick(pool)
  return [...script.slice(0, random.below(script.length + 1)), ...other.slice(random.below(other.length + 1))]
}

/** Another script goes on at the same time, in the same slots or in others. */
function interleave(script: Step[], random: SeededRandom, pool: readonly Script[]): Step[] {
  const shift = random.below(slots)
  const other = random
    .pick(pool)
    .map((step) => (step.do === 'wait' ? step : { ...step, on: (step.on + shift) % slots }))
  const mixed: Step[] = []
  for (let one = 0, two = 0; one < script.length || two < other.length;)
    if (two >= other.length || (one < script.length && random.once(2))) mixed.push(script[one++]!)
    else mixed.push(other[two++]!)
  return mixed
}

/** A chunk comes in pieces: anywhere, or byte by byte. */
function split(script: Step[], random: SeededRandom): Step[] {
  const at = pickSend(script, random)
  if (at < 0) return script
  const { on, bytes } = script[at] as Send
  const pieces: Step[] = []
  const most = random.once(4) ? 1 : Math.max(1, bytes.length)
  for (let start = 0; start < bytes.length;) {
    const end = pieces.length > 20 ? bytes.length : start + 1 + random.below(most)
    pieces.push({ do: 'send', on, bytes: bytes.slice(start, end) })
    start = end
  }
  return script.toSpliced(at, 1, ...pieces)
}

/** What a slot sends, or some of it, comes in one chunk. */
function join(script: Step[], random: SeededRandom): Step[] {
  const at = pickSend(script, random)
  if (at < 0) return script
  const { on } = script[at] as Send
  const most = 2 + random.below(6)
  const joined: Uint8Array[] = []
  const rest = script.slice(at).filter((step) => {
    const joins = step.do === 'send' && step.on === on && joined.length < most
    if (joins) joined.push(step.bytes)
    return !joins
  })
  return [...script.slice(0, at), { do: 'send', on, bytes: concat(joined) }, ...rest]
}

/** A CONNECT of another version, or of another client with the same id. */
function rename(script: Step[], random: SeededRandom, pool: readonly Script[]): Step[] {
  const connects = (steps: Script): number[] => steps.flatMap((step, at) => (isConnect(step) ? [at] : []))
  const places = connects(script)
  const other = random.pick(pool)
  const donors = connects(other)
  if (places.length === 0 || donors.length === 0) return script
  const at = random.pick(places)
  return script.with(at, { ...(script[at] as Send), bytes: (other[random.pick(donors)] as Send).bytes })
}

function event(script: Step[], random: SeededRandom): Step[] {
  const what = random.pick(['open', 'hang', 'stall', 'read', 'answer', 'answer'] as const)
  return inserted(script, random, { do: what, on: slotOf(script, random) })
}

function pause(script: Step[], random: SeededRandom): Step[] {
  return inserted(script, random, { do: 'wait', ms: random.pick([100, 1000, 1100, 2500, 3500, 6000, 9000, 31_000]) })
}

function changed(script: Step[], random: SeededRandom, change: (bytes: Uint8Array) => Uint8Array): Step[] {
  const at = pickSend(script, random)
  if (at < 0) return script
  const { on, bytes } = script[at] as Send
  const next = Uint8Array.from(change(bytes))
  return next.length === 0 ? script.toSpliced(at, 1) : script.with(at, { do: 'send', on, bytes: next })
}

/** The place of a step that sends; -1 when there is none. */
function pickSend(script: readonly Step[], random: SeededRandom): number {
  for (let tries = 0; tries < 8; tries++) {
    const at = random.below(script.length)
    if (script[at]?.do === 'send') return at
  }
  return script.findIndex((step) => step.do === 'send')
}

function slotOf(script: readonly Step[], random: SeededRandom): number {
  const step = script[random.below(script.length)]
  return step === undefined || step.do === 'wait' ? 0 : step.on
}

function inserted(script: Step[], random: SeededRandom, step: Step): Step[] {
  return script.toSpliced(random.below(script.length + 1), 0, step)
}

function isConnect(step: Step): boolean {
  return step.do === 'send' && step.bytes[0] === 0x10
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}

// Too large for most, and right in their headers.
const monsters: readonly Uint8Array[] = (() => {
  const deep = Buffer.alloc(65_535, '/')
  const wide = Buffer.alloc(65_535, 'x')
  const sized = (text: Uint8Array): Uint8Array =>
    Buffer.concat([Uint8Array.of(text.length >> 8, text.length & 255), text])
  const packet = (first: number, ...content: Uint8Array[]): Uint8Array => {
    const { length } = Buffer.concat(content)
    return concat([Uint8Array.of(first, (length & 127) | 128, ((length >> 7) & 127) | 128, length >> 14), ...content])
  }
  const id = Uint8Array.of(0, 1)
  const none = Uint8Array.of(0)
  const pairs = Buffer.concat(Array<Uint8Array>(3000).fill(Uint8Array.of(0x26, 0, 1, 0x61, 0, 1, 0x62)))
  const block = Buffer.concat([
    Uint8Array.of((pairs.length & 127) | 128, ((pairs.length >> 7) & 127) | 128, pairs.length >> 14),
    pairs,
  ])
  const filters = Buffer.concat(Array<Uint8Array>(2000).fill(Uint8Array.of(0, 3, 0x61, 0x2f, 0x23, 0)))
  return [
    packet(0x30, sized(deep), none),
    packet(0x32, sized(wide), id, none),
    packet(0x82, id, none, sized(deep), none),
    packet(0x82, id, sized(deep), none),
    packet(0xa2, id, none, sized(deep)),
    packet(0x30, sized(Buffer.from('a')), block),
    packet(0x82, id, none, filters),
    packet(0x82, id, filters),
    packet(0x30, sized(Buffer.from('a')), none, Buffer.alloc(90_000)),
  ]
})()
