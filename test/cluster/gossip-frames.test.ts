import { expect, test } from 'vitest'
import { KeyedHash } from '../../src/cluster/hash.ts'
import { FrameType, WireError } from '../../src/cluster/wire.ts'
import { CorruptRecordError } from '../../src/store/writer.ts'
import { frameOf, hashOf, Lone } from './gossip-lone.ts'
import { Mesh } from './gossip-mesh.ts'

const { operations, digest, wanted, snapshot, applied } = FrameType
const most = Number.MAX_SAFE_INTEGER
const names = new KeyedHash('mesh')
const nameOf = (node: string) => names.number(node)

/** We are n0, with one key; a link to n1 is up, of whom nothing is known yet. */
function fresh(settings?: ConstructorParameters<typeof Lone>[2]): Lone {
  const lone = new Lone('n0', ['n1'], settings)
  lone.gossip.own.set('fown', 1)
  lone.gossip.linked('n1')
  while (lone.endTurn());
  lone.sent.length = 0
  return lone
}

/** All that counts. */
function stateOf({ gossip }: Lone): string {
  const owners = [...gossip.owners()].map((node) => [
    node,
    gossip.owner(node)!.version,
    [...gossip.owner(node)!.entries()],
  ])
  return JSON.stringify([gossip.own.incarnation, gossip.own.version, owners])
}

const isFaultOfPeer = (fault: unknown) => fault instanceof WireError || fault instanceof CorruptRecordError

// ── what no frame looks like ─────────────────────────────────────────────────────────────────────────────────────

for (const [what, frame] of [
  ['operations of nobody', frameOf(operations, '', 1, 0, 1, 'fa', 1)],
  ['operations without an incarnation', frameOf(operations, 'n1', 0, 0, 1, 'fa', 1)],
  ['an incarnation that nothing can follow', frameOf(operations, 'n1', most, 0, 1, 'fa', 1)],
  ['more changes than there are bytes', frameOf(operations, 'n1', 1, 0, 2 ** 52, 'fa', 1)],
  ['a version of more than 53 bits', frameOf(operations, 'n1', 1, most, 1, 'fa', 1)],
  ['a key that is longer than its frame', frameOf(operations, 'n1', 1, 0, 1, 2 ** 40)],
  ['a snapshot that runs backwards', frameOf(snapshot, 'n1', 1, 5, 1, 1, 9, 8, hashOf(), 0)],
  ['a snapshot past the last position', frameOf(snapshot, 'n1', 1, 5, 1, 1, 0, 1025, hashOf(), 0)],
  ['a snapshot with a key that is not there', frameOf(snapshot, 'n1', 1, 5, 1, 1, 0, 1024, hashOf(), 1, 'fa', 0)],
  ['a snapshot of more keys than bytes', frameOf(snapshot, 'n1', 1, 5, 1, 1, 0, 1024, hashOf(), 2 ** 52, 'fa', 1)],
  ['a digest out of order', frameOf(digest, 1, 0, 0, most, 2, 9, 1, 1, hashOf(), 8, 1, 1, hashOf())],
  ['a digest with more owners than bytes', frameOf(digest, 1, 0, 0, most, 2 ** 52, 9, 1, 1, hashOf())],
  ['news of an incarnation that nothing can follow', frameOf(digest, 2, 1, nameOf('n0'), most, 1, hashOf())],
  ['news of more owners than bytes', frameOf(digest, 2, 2 ** 52)],
  ['a wish for an incarnation that nothing can follow', frameOf(wanted, nameOf('n0'), most, 1, hashOf(), 0, 0)],
  ['a word of an incarnation that nothing can follow', frameOf(applied, nameOf('n0'), most, 1, 1)],
] as const)
  test(`refused, and nothing has changed: ${what}`, () => {
    const lone = fresh()
    const before = stateOf(lone)
    let thrown: unknown
    try {
      lone.frame('n1', frame)
    } catch (fault) {
      thrown = fault
    }
    expect(isFaultOfPeer(thrown), String(thrown)).toBe(true)
    while (lone.endTurn());
    expect(stateOf(lone)).toBe(before)
    // What stood before the fault may have raised a question.
    for (const { bytes } of lone.sent) expect(bytes[0]).toBe(wanted)
  })

// ── what is a frame, and must not do harm ────────────────────────────────────────────────────────────────────────

test('what others tell of ourselves changes nothing of ours', () => {
  for (const frame of [
    frameOf(operations, 'n0', 5, 0, 1, 'fstrange', 1),
    frameOf(operations, 'n0', 4, 0, 1, 'fstrange', 1),
    frameOf(snapshot, 'n0', 5, 90, 1, 1, 0, 1024, hashOf(), 1, 'fstrange', 1),
  ]) {
    const lone = fresh()
    lone.frame('n1', frame)
    while (lone.endTurn());
    expect([...lone.gossip.own.entries()]).toEqual([['fown', 1]])
    expect([lone.gossip.own.incarnation, lone.taken]).toEqual([5, []])
  }
})

for (const [what, frame] of [
  ['a table', frameOf(operations, 'n0', 9, 0, 1, 'fstrange', 1)],
  ['a digest', frameOf(digest, 2, 1, nameOf('n0'), 9, 0, hashOf())],
  ['a wish', frameOf(wanted, nameOf('n0'), 9, 0, hashOf(), 0, 0)],
] as const)
  test(`${what} of ourselves under a newer incarnation: ours is above it, with our own keys`, () => {
    const lone = fresh()
    lone.frame('n1', frame)
    expect([lone.gossip.own.incarnation, lone.taken]).toEqual([10, [9]])
    expect([...lone.gossip.own.entries()]).toEqual([['fown', 1]])
  })

test('a snapshot without its beginning is not one, and one that jumps is asked for anew', () => {
  const lone = fresh()
  lone.frame('n1', frameOf(snapshot, 'n1', 1, 5, 0, 1, 0, 1024, hashOf(), 1, 'fa', 1))
  while (lone.endTurn());
  expect(lone.gossip.owner('n1')!.size).toBe(0)
  lone.frame('n1', frameOf(snapshot, 'n1', 1, 5, 1, 9000, 0, 10, hashOf(), 0))
  lone.frame('n1', frameOf(snapshot, 'n1', 1, 5, 0, 9000, 11, 12, hashOf(), 1, 'fa', 1))
  while (lone.endTurn());
  expect(lone.gossip.owner('n1')).toMatchObject({ size: 0, version: 0, complete: false })
  expect(lone.sent.filter(({ bytes }) => bytes[0] === wanted)).toHaveLength(1)
})

test('a snapshot that is not what its hash says counts as nothing, and is asked for again only after a while', () => {
  const lone = fresh()
  for (let times = 0; times < 100; times++) {
    lone.frame('n1', frameOf(snapshot, 'n1', 1, 5, 1, 1, 0, 1024, hashOf(7, 7), 1, 'fa', 1))
    while (lone.endTurn());
  }
  expect(lone.gossip.owner('n1')).toMatchObject({ version: 0, complete: false })
  expect(lone.gossip.counts.mismatches).toBe(100)
  expect(lone.sent.filter(({ bytes }) => bytes[0] === wanted)).toHaveLength(1)
})

test('of an owner nobody knows there is nothing to say', () => {
  const lone = fresh()
  lone.frame('n1', frameOf(wanted, nameOf('n7'), 1, 1, hashOf(), 0, 0))
  lone.frame('n1', frameOf(applied, nameOf('n7'), 1, 1, most))
  lone.frame('n1', frameOf(digest, 77, 1, 2, 3))
  lone.frame('n1', frameOf(0x2f as FrameType, 1, 2, 3))
  while (lone.endTurn());
  expect(lone.sent).toEqual([])
})

test('who says that it has handled more than it got gets no more than its window', () => {
  const lone = fresh({ window: 4, frameBytes: 100 })
  for (let key = 0; key < 2000; key++) lone.gossip.own.set(`filter/${key}`, 1)
  lone.frame('n1', frameOf(wanted, nameOf('n0'), 0, 0, hashOf(), 0, 0))
  while (lone.endTurn());
  expect(lone.sent).toHaveLength(4)
  lone.frame('n1', frameOf(applied, nameOf('n0'), 5, 0, most))
  while (lone.endTurn());
  expect(lone.sent).toHaveLength(8)
})

test('who asks again and again, and confirms nothing, gets one window', () => {
  const lone = fresh({ window: 4, frameBytes: 100 })
  for (let key = 0; key < 2000; key++) lone.gossip.own.set(`filter/${key}`, 1)
  for (let times = 0; times < 1000; times++) {
    lone.frame('n1', frameOf(wanted, nameOf('n0'), 0, 0, hashOf(), times % 1025, times))
    while (lone.endTurn());
  }
  expect(lone.sent).toHaveLength(4)
})

test('owners are made up without end: some are taken up, the rest is counted', () => {
  const lone = fresh({ owners: 50 })
  for (let node = 0; node < 1000; node++) {
    lone.frame('n1', frameOf(operations, `x${node}`, 1, 0, 1, 'fa', 1))
    lone.frame('n1', frameOf(digest, 2, 1, nameOf(`y${node}`), 1, 1, hashOf()))
    while (lone.endTurn());
  }
  expect([...lone.gossip.owners()]).toHaveLength(49)
  expect(lone.gossip.counts.strangers).toBe(951)
  // Who tells of them hears that it need not go on.
  expect(lone.sent.filter(({ bytes }) => bytes[0] === applied).length).toBeGreaterThan(951)
})

test('more comes in a turn than may wait: it is dropped, counted, and asked for', () => {
  let ms = 0
  const lone = new Lone('n0', ['n1'], { budgetMs: 0, waitingBytes: 3000 }, () => ms)
  const frame = (version: number) =>
    frameOf(operations, 'n1', 1, version, 1, 'filter/with/a/name/of/some/length', version + 1)
  for (let version = 0; version < 1000; version++) lone.frame('n1', frame(version))
  while (lone.endTurn());
  const { overruns } = lone.gossip.counts
  expect(overruns).toBeGreaterThan(900)
  expect(lone.gossip.owner('n1')!.version).toBe(1000 - overruns)
  ms = 5000
  lone.frame('n1', frame(1000))
  while (lone.endTurn());
  expect(lone.sent.filter(({ bytes }) => bytes[0] === wanted)).toHaveLength(1)
})

// ── every frame that there is, cut short, and with one byte changed ──────────────────────────────────────────────

/** One frame of each kind and length that crosses in a small cluster's life. */
function corpus(): Buffer[] {
  const kinds = new Map<string, Buffer>()
  const mesh = new Mesh(1, { frameBytes: 60, ownChanges: 5 })
  mesh.onFrame = (bytes) => {
    const kind = `${bytes[0]}/${bytes[0] === digest ? bytes[1] : ''}/${bytes.length >> 4}`
    if (!kinds.has(kind)) kinds.set(kind, Buffer.from(bytes))
  }
  mesh.start(3).run(100)
  for (const { gossip } of mesh.nodes) for (let key = 0; key < 6; key++) gossip.own.set(`f${key}`, key)
  mesh.run(2000).link(() => false)
  for (const { gossip } of mesh.nodes) for (let key = 0; key < 30; key++) gossip.own.set(`f${key}`, key % 4)
  mesh.link((a, b) => b.index - a.index === 1).run(5000)
  mesh.nodes[0]!.gossip.verify(() => {})
  mesh.run(100)
  return [...kinds.values()]
}

/** One that knows something of n1 and n2, and is behind on both. */
function behind(): Lone {
  const lone = new Lone('n0', ['n1', 'n2'], { frameBytes: 60, ownChanges: 5 })
  for (let key = 0; key < 30; key++) lone.gossip.own.set(`f${key}`, 1)
  for (const node of ['n1', 'n2']) lone.frame(node, frameOf(operations, node, 1, 0, 2, 'f1', 1, 'f2', 1))
  while (lone.endTurn());
  lone.sent.length = 0
  return lone
}

test('every frame cut short is refused, or says less; every byte changed is refused, or says something else', () => {
  const frames = corpus()
  expect(new Set(frames.map(([type]) => type))).toEqual(new Set([operations, digest, wanted, snapshot, applied]))
  let refused = 0
  const take = (bytes: Buffer) => {
    const lone = behind()
    try {
      lone.frame('n1', bytes)
    } catch (fault) {
      refused++
      expect(isFaultOfPeer(fault), `${bytes.toString('hex')}: ${String(fault)}`).toBe(true)
    }
    let turns = 0
    while (lone.endTurn()) expect(++turns).toBeLessThan(1000)
    const bytesSent = lone.sent.reduce((sum, sent) => sum + sent.bytes.length, 0)
    expect(bytesSent, bytes.toString('hex')).toBeLessThan(10_000)
  }
  for (const frame of frames) {
    for (let length = 1; length < frame.length; length++) take(frame.subarray(0, length))
    for (let at = 1; at < frame.length; at++)
      for (const value of [0, 1, 0x7f, 0x80, 0xff, frame[at]! ^ 0x20]) {
        const changed = Buffer.from(frame)
        changed[at] = value
        take(changed)
      }
  }
  expect(refused).toBeGreaterThan(500)
})

// ── slices ───────────────────────────────────────────────────────────────────────────────────────────────────────

const keys = 20_000
const budget = 100
const frameBytes = 500

/** A node whose clock counts what it does: a key that changes, a frame that leaves. Gives the most of a turn as well. */
function counting(self: string, peers: string[]) {
  const clock = (): number => lone.changes + lone.sent.length
  const lone: Lone = new Lone(self, peers, { budgetMs: budget, splitAt: 100, frameBytes }, () => clock())
  let most = 0
  const turn = (begin: () => void = () => {}) => {
    const before = clock()
    begin()
    const more = lone.endTurn()
    most = Math.max(most, clock() - before)
    return more
  }
  return { lone, turn, most: () => most }
}

/** Lets `giver` and `taker` talk; each gets all that was sent to it in one turn. */
function talk(giver: ReturnType<typeof counting>, taker: ReturnType<typeof counting>): void {
  for (let turns = 0; turns < 100_000; turns++) {
    const there = giver.lone.sent
    const here = taker.lone.sent
    const [toTaker, toGiver] = [there.filter((_, at) => at >= given), here.filter((_, at) => at >= taken)]
    given = there.length
    taken = here.length
    const more = [
      giver.turn(() => toGiver.forEach(({ bytes }) => giver.lone.frame('n1', bytes))),
      taker.turn(() => toTaker.forEach(({ bytes }) => taker.lone.frame('n0', bytes))),
    ]
    if (!more.includes(true) && toTaker.length + toGiver.length === 0) return
  }
  throw new Error('they do not come to an end')
}
let [given, taken] = [0, 0]

test('a snapshot, its diff, changes, and an eviction are worked off in slices: no turn does more than its share', () => {
  given = taken = 0
  const giver = counting('n0', ['n1'])
  const taker = counting('n1', ['n0'])
  const { own } = giver.lone.gossip
  for (let key = 0; key < keys; key++) own.set(`filter/${key}`, 1)
  giver.lone.gossip.linked('n1')
  taker.lone.gossip.linked('n0')
  talk(giver, taker)
  const replica = () => taker.lone.gossip.owner('n0')
  expect(replica()).toMatchObject({ size: keys, version: own.version, hash: own.hash })
  // The other way round: everything goes, in a snapshot that is empty.
  for (const peer of [giver, taker]) peer.lone.gossip.unlinked(peer === giver ? 'n1' : 'n0')
  for (let key = 0; key < keys; key++) own.set(`filter/${key}`, 0)
  for (let key = 0; key < 60_000; key++) own.set('filter/again', 1 + (key % 2))
  giver.lone.gossip.linked('n1')
  taker.lone.gossip.linked('n0')
  talk(giver, taker)
  expect(replica()).toMatchObject({ size: 1, version: own.version, hash: own.hash })
  // As changes, one by one.
  for (let key = 0; key < keys; key++) own.set(`filter/${key}`, 1)
  talk(giver, taker)
  expect(replica()).toMatchObject({ size: keys + 1, hash: own.hash })
  // And gone for good.
  taker.lone.gossip.forget('n0')
  while (taker.turn());
  expect(replica()).toBe(undefined)
  expect(taker.lone.changes).toBe(4 * keys + 2)
  // Its share, half of it again if others had the turn for long, and a frame that each of them began with.
  const keysInFrame = frameBytes / 'filter/1\n\x01'.length
  for (const peer of [giver, taker]) expect(peer.most()).toBeLessThan(1.5 * budget + 2 * keysInFrame)
})

// ── the hash ─────────────────────────────────────────────────────────────────────────────────────────────────────

for (const [what, filter] of [
  ['numbers', (n: number) => `f${n}`],
  ['devices', (n: number) => `fsite/${n % 100}/device/${n}/+`],
  ['long ones that differ in the middle', (n: number) => `f${'a/'.repeat(40)}${n}${'/b'.repeat(40)}`],
] as const)
  test(`hashes of 300,000 filters, ${what}: no two are the same, and halves are as often as chance has it`, () => {
    const count = 300_000
    const hash = new KeyedHash('a cluster')
    const [low, high, both] = [new Set<number>(), new Set<number>(), new Set<number>()]
    for (let n = 0; n < count; n++) {
      hash.over(filter(n))
      low.add(hash.low)
      high.add(hash.high)
      both.add(hash.number(filter(n)))
    }
    expect(both.size).toBe(count)
    // Of so many numbers of 32 bits, count² / 2^33 = 10 are met again, give or take 3.
    for (const { size } of [low, high]) expect(count - size).toBeLessThan(30)
  })
