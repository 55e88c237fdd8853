import { expect, test } from 'vitest'
import { Members } from '../../src/cluster/members.ts'
import { FrameType, WireError } from '../../src/cluster/wire.ts'
import { CorruptRecordError, RecordReader, RecordWriter } from '../../src/store/writer.ts'
import { Dice } from '../sim/dice.ts'
import { Time } from '../sim/time.ts'
import { MembersWorld, type SimNode } from './members-world.ts'

const seeds = Array.from({ length: Number(process.env.MEMBERS_SEEDS ?? 20) }, (_, seed) => seed)
const sizes = [2, 3, 4, 7, 10]

/** How long until all who run, but `about`, hold it for dead; the worst of the seeds. */
function worstDetection(size: number, loss: number, strike: (world: MembersWorld, about: SimNode) => void): number {
  return Math.max(
    ...seeds.map((seed) => {
      const world = new MembersWorld(seed, { loss }).start(size)
      const about = world.nodes[seed % size]!
      world.run(world.dice.between(0, 3000))
      strike(world, about)
      const others = world.nodes.filter((node) => node !== about)
      return world.until(() => world.agree(about, ['dead'], others), 30_000)
    }),
  )
}

for (const size of sizes)
  test(`${size} nodes: a killed one is dead within 2 s, a silent one within 6 s`, () => {
    expect(worstDetection(size, 0, (_, about) => about.kill())).toBeLessThan(2000)
    expect(worstDetection(size, 0.05, (_, about) => about.kill())).toBeLessThan(2000)
    expect(worstDetection(size, 0, (_, about) => about.stall(1e9))).toBeLessThan(6000)
    expect(worstDetection(size, 0.05, (_, about) => about.stall(1e9))).toBeLessThan(6000)
    const cut = (world: MembersWorld, about: SimNode) =>
      world.part(
        [about],
        world.nodes.filter((node) => node !== about),
      )
    expect(worstDetection(size, 0, cut)).toBeLessThan(6000)
  })

/** Nobody who lives was ever held for dead. */
function noDeaths(world: MembersWorld): void {
  expect(world.deaths()).toEqual([])
}

function whole(world: MembersWorld, mostMs: number): void {
  expect(
    world.until(() => world.whole, mostMs),
    'all see all',
  ).toBeLessThanOrEqual(mostMs)
}

/** All who run have everybody else on the list. */
function allKnown(world: MembersWorld): void {
  for (const node of world.running) expect([...node.members.all()]).toHaveLength(world.nodes.length - 1)
}

const scenarios: readonly (readonly [what: string, size: number, play: (world: MembersWorld) => void])[] = [
  ['two are enough', 2, (world) => (whole(world, 0), noDeaths(world))],
  ['ten join by one of them', 10, (world) => (whole(world, 0), noDeaths(world))],
  [
    'a killed node is back with its next start, at once',
    5,
    (world) => {
      const node = world.nodes[2]!
      node.kill()
      world.run(8000)
      expect(world.agree(node, ['dead'])).toBe(true)
      node.restart(world.nodes[0]!)
      expect(world.until(() => world.whole, 2000)).toBeLessThan(500)
      expect([...world.nodes[4]!.members.all()].find((member) => member.node === 'n2')?.incarnation).toBe(2)
    },
  ],
  [
    'a start so soon that nobody has missed it',
    5,
    (world) => {
      world.nodes[2]!.kill()
      world.run(150)
      world.nodes[2]!.restart(world.nodes[0]!)
      world.run(3000)
      whole(world, 0)
    },
  ],
  [
    'a rolling restart',
    5,
    (world) => {
      for (const node of world.nodes) {
        node.kill()
        world.run(3000)
        node.restart(...world.nodes.filter((other) => other !== node))
        world.run(1000)
        whole(world, 0)
      }
    },
  ],
  [
    'who leaves has left, and is not dead',
    5,
    (world) => {
      const node = world.nodes[1]!
      node.members.leave()
      world.run(50)
      node.kill()
      expect(world.agree(node, ['left'])).toBe(true)
      world.run(30_000)
      expect(world.agree(node, ['left'])).toBe(true)
      noDeaths(world)
      node.restart(world.nodes[3]!)
      whole(world, 1000)
    },
  ],
  [
    'an evicted node is on nobody’s list, until it starts again',
    7,
    (world) => {
      const [asked, node, away] = world.nodes as [SimNode, SimNode, SimNode]
      node.kill()
      world.run(5000)
      // One that does not hear of it, and still knows the evicted one when it is back.
      world.part(
        [away],
        world.nodes.filter((other) => other !== away),
      )
      asked.members.evict('n1')
      world.run(2000)
      const others = world.running.filter((other) => other !== away)
      expect(world.agree(node, [undefined], others)).toBe(true)
      expect(away.members.state('n1')).toBe('dead')
      world.run(30_000)
      world.heal()
      world.run(15_000)
      expect(world.agree(node, [undefined])).toBe(true)
      node.restart(away)
      whole(world, 2000)
    },
  ],
  [
    'a node that runs learns that it was evicted, and what it says counts no more',
    5,
    (world) => {
      const node = world.nodes[3]!
      world.nodes[0]!.members.evict('n3')
      world.run(3000)
      expect(
        world.events.some((event) => event.node === 'n3' && event.what === 'evicted' && event.about === 'n3'),
      ).toBe(true)
      expect(world.agree(node, [undefined])).toBe(true)
      world.run(20_000)
      expect(world.agree(node, [undefined])).toBe(true)
      expect(world.deaths().filter((event) => event.node !== 'n3')).toEqual([])
    },
  ],
  [
    'what was evicted is forgotten after its time',
    3,
    (world) => {
      world.nodes[2]!.kill()
      world.nodes[0]!.members.evict('n2')
      world.run(120_000)
      expect(world.agree(world.nodes[2]!, [undefined])).toBe(true)
    },
  ],
  [
    'two seconds of standing still are forgiven',
    10,
    (world) => {
      for (const node of world.nodes) {
        node.stall(2000)
        world.run(4000)
      }
      for (const node of world.nodes) node.stall(2000)
      world.run(5000)
      noDeaths(world)
    },
  ],
  [
    'who stood still for long judges nobody, and is alive again itself',
    5,
    (world) => {
      const node = world.nodes[2]!
      node.stall(30_000)
      world.run(29_000)
      expect(world.agree(node, ['dead'], world.nodes)).toBe(true)
      whole(world, 2500)
      world.run(5000)
      expect(world.deaths().every((event) => event.about === 'n2')).toBe(true)
    },
  ],
  [
    'two of three are silent',
    3,
    (world) => {
      world.nodes[0]!.stall(1e9)
      world.nodes[1]!.stall(1e9)
      const last = world.nodes[2]!
      expect(world.until(() => ['n0', 'n1'].every((node) => last.members.state(node) === 'dead'), 6000)).toBeLessThan(
        6000,
      )
    },
  ],
  [
    'half of ten are killed',
    10,
    (world) => {
      for (const node of world.nodes.slice(5)) node.kill()
      const dead = () => world.nodes.slice(5).every((node) => world.agree(node, ['dead']))
      expect(world.until(dead, 2000)).toBeLessThan(2000)
      allKnown(world)
      for (const node of world.nodes.slice(5)) node.restart(world.nodes[0]!)
      whole(world, 2000)
    },
  ],
  [
    'a one-way cut between two of five: the others help',
    5,
    (world) => {
      world.passes = (from, to) => !(from.index === 1 && to.index === 3)
      world.run(60_000)
      noDeaths(world)
      world.heal()
      whole(world, 5000)
    },
  ],
  [
    'a node that hears, and is not heard',
    5,
    (world) => {
      world.passes = (from) => from.index !== 1
      world.run(10_000)
      expect(world.agree(world.nodes[1]!, ['dead'])).toBe(true)
      expect(world.deaths().every(({ node, about }) => node === 'n1' || about === 'n1')).toBe(true)
      world.heal()
      whole(world, 5000)
    },
  ],
  [
    'a node that is heard, and does not hear',
    5,
    (world) => {
      world.passes = (_, to) => to.index !== 1
      world.run(10_000)
      expect(world.agree(world.nodes[1]!, ['dead'])).toBe(true)
      world.heal()
      whole(world, 5000)
    },
  ],
  [
    'a bridge: two halves that only one node reaches',
    7,
    (world) => {
      const half = (node: SimNode) => (node.index === 6 ? 0 : node.index < 3 ? 1 : 2)
      world.passes = (from, to) => half(from) * half(to) === 0 || half(from) === half(to)
      world.run(60_000)
      noDeaths(world)
      world.heal()
      whole(world, 5000)
    },
  ],
  [
    'a node that joins one side of a partition is known on both after it',
    7,
    (world) => {
      const [first, second] = [world.nodes.slice(0, 4), world.nodes.slice(4)]
      const joiner = second.pop()!
      joiner.kill()
      world.nodes[0]!.members.evict(joiner.name)
      world.run(3000)
      world.part(first, second, [joiner])
      world.run(10_000)
      world.part(first, [...second, joiner])
      joiner.restart(second[0]!)
      world.run(3000)
      expect(world.agree(joiner, ['alive'], second)).toBe(true)
      world.heal()
      whole(world, 12_000)
    },
  ],
]

for (const breaksAfterMs of [1e9, 15_000, 2000])
  for (const [what, parts] of [
    ['split', [3, 4]],
    ['split off one', [1, 6]],
    ['equal thirds', [3, 3, 3]],
    ['all alone', [1, 1, 1, 1]],
  ] as const)
    for (const forMs of [4000, 30_000])
      test(`${what}, for ${forMs / 1000} s, links break after ${breaksAfterMs} ms: heals, and nobody is forgotten`, () => {
        for (const seed of seeds.slice(0, 5)) {
          const count = parts.reduce<number>((sum, part) => sum + part, 0)
          const world = new MembersWorld(seed, { breaksAfterMs, loss: 0.02 }).start(count)
          let at = 0
          world.part(...parts.map((part) => world.nodes.slice(at, (at += part))))
          world.run(forMs)
          allKnown(world)
          if (forMs > 10_000) expect(world.whole).toBe(false)
          world.heal()
          whole(world, 5000)
          world.run(10_000)
          whole(world, 0)
        }
      })

for (const [what, size, play] of scenarios)
  test(what, () => {
    const settings = what.includes('forgotten after') ? { forgetSeconds: 60 } : {}
    for (const seed of seeds.slice(0, 8)) play(new MembersWorld(seed, {}, settings).start(size))
  })

test('a dialling that is refused says nothing while there is a link', () => {
  const world = new MembersWorld(1).start(3)
  world.nodes[0]!.members.refused('n1')
  world.run(3000)
  noDeaths(world)
})

test('a process that is always late still finds out who is dead', () => {
  const world = new MembersWorld(1).start(3)
  const late = world.nodes[0]!
  const again = () => {
    late.stall(600)
    world.time.after(620, again)
  }
  again()
  world.run(60_000)
  noDeaths(world)
  world.nodes[2]!.kill()
  expect(world.until(() => late.members.state('n2') === 'dead', 30_000)).toBeLessThan(30_000)
})

test('at rest a node sends some seven small frames a second, whatever the size of the cluster', () => {
  for (const size of [2, 3, 10, 50]) {
    const world = new MembersWorld(size).start(size)
    const { frames, bytes } = world
    world.run(60_000)
    const each = (world.frames - frames) / size / 60
    expect(each).toBeGreaterThan(6)
    expect(each).toBeLessThan(7)
    expect((world.bytes - bytes) / size / 60).toBeLessThan(160)
  }
})

test('a seed is a world: run twice, the same crosses', () => {
  const run = (seed: number) => {
    const world = new MembersWorld(seed, { loss: 0.1 }).start(6)
    world.nodes[2]!.kill()
    world.nodes[4]!.stall(4000)
    world.run(5000)
    world.nodes[2]!.restart(world.nodes[0]!)
    world.part(world.nodes.slice(0, 3), world.nodes.slice(3))
    world.run(8000)
    world.heal()
    world.run(5000)
    return world.hash
  }
  const hashes = seeds.map(run)
  expect(seeds.map(run)).toEqual(hashes)
  expect(new Set(hashes).size).toBe(seeds.length)
})

test('a frame that is malformed throws, and changes nothing', () => {
  const time = new Time(new Dice(1))
  const peers = {
    self: 'a',
    linked: () => [],
    version: () => 1,
    begin: () => undefined,
    end() {},
    congested: () => false,
  }
  const options = { self: 'a', incarnation: 1, address: 'a:1', clock: time, random: new Dice(2), peers }
  const writer = new RecordWriter()
  for (const field of [7, 1, 0]) writer.varint(field)
  writer.u32(0)
  writer.u32(0)
  writer.varint(2)
  writer.text('c')
  writer.u8(0)
  writer.varint(2)
  for (const [node, standing] of [
    ['b', 0],
    ['c', 1],
  ] as const) {
    writer.text(node)
    writer.text(`${node}:1`)
    writer.varint(1)
    writer.varint(0)
    writer.u8(standing)
  }
  writer.u8(1)
  writer.text('b')
  const bytes = writer.view()
  const frame = (members: Members, taken: Uint8Array) =>
    members.frame('b', FrameType.pingRequest, new RecordReader().over(taken, 0, taken.length))
  for (let length = 0; length < bytes.length; length++) {
    const members = new Members(options)
    expect(() => frame(members, bytes.subarray(0, length)), `${length} bytes`).toThrow()
    expect([...members.all()]).toEqual([])
  }
  const members = new Members(options)
  frame(members, bytes)
  expect([...members.all()].map(({ node, state }) => [node, state])).toEqual([
    ['b', 'alive'],
    ['c', 'suspect'],
  ])
  // Any one byte changed: a fault of the known kinds, or other news.
  for (let at = 0; at < bytes.length; at++)
    for (const value of [0, 1, 5, 0x7f, 0x80, 0xff]) {
      const changed = Uint8Array.from(bytes)
      changed[at] = value
      try {
        frame(new Members(options), changed)
      } catch (fault) {
        expect(fault instanceof WireError || fault instanceof CorruptRecordError, String(fault)).toBe(true)
      }
    }
})
