import { expect, test } from 'vitest'
import { FrameType } from '../../src/cluster/wire.ts'
import { Mesh } from './gossip-mesh.ts'
import { type Outcome, runModel } from './gossip-model.ts'

const seeds = Number(process.env.GOSSIP_SEEDS ?? 1000)
const perTest = 100

for (let from = 0; from < seeds; from += perTest)
  test(`seeds from ${from}: every replica is a state that its owner had, and after quiet the last one`, () => {
    for (let seed = from; seed < Math.min(seeds, from + perTest); seed++)
      try {
        runModel(seed)
      } catch (fault) {
        throw new Error(`seed ${seed}: ${(fault as Error).message}`, { cause: fault })
      }
  })

test('the seeds go where it is difficult: snapshots, questions, frames that find no room', () => {
  const outcomes = Array.from({ length: 100 }, (_, seed) => runModel(seed))
  const sum = (count: (counts: Outcome['counts'][number]) => number) =>
    outcomes.reduce((all, { counts }) => counts.reduce((some, one) => some + count(one), all), 0)
  expect(sum(({ snapshots }) => snapshots)).toBeGreaterThan(100)
  expect(sum(({ asked }) => asked)).toBeGreaterThan(1000)
  expect(sum(({ overruns }) => overruns)).toBeGreaterThan(10)
  expect(sum(({ missed }) => missed)).toBeGreaterThan(10)
})

test('a seed is a world: run twice, the same crosses', () => {
  const traces = Array.from({ length: 50 }, (_, seed) => runModel(seed).trace)
  expect(traces.map((_, seed) => runModel(seed).trace)).toEqual(traces)
  expect(new Set(traces).size).toBe(traces.length)
})

/** What crosses while `run` does, by type. */
function crossing(mesh: Mesh, run: () => void): Map<number, number> {
  const frames = new Map<number, number>()
  mesh.onFrame = ([type]) => frames.set(type!, (frames.get(type!) ?? 0) + 1)
  run()
  mesh.onFrame = undefined
  return frames
}

function equalWithin(mesh: Mesh, mostMs: number): void {
  expect(mesh.until(() => mesh.equal, mostMs, 1)).toBeLessThanOrEqual(mostMs)
}

test('a change goes to each peer in one frame, however many there are in a turn, and comes back as one word', () => {
  const mesh = new Mesh(1).start(4).run(2000)
  const [node] = mesh.nodes
  const frames = crossing(mesh, () => {
    for (let key = 0; key < 20; key++) node!.gossip.own.set(`f${key}`, 1)
    equalWithin(mesh, 10)
    mesh.run(10)
  })
  expect(frames.get(FrameType.operations)).toBe(3)
  expect(frames.get(FrameType.applied)).toBe(3)
  expect(frames.has(FrameType.snapshot)).toBe(false)
})

for (const [what, changes, snapshot] of [
  ['a little behind: gets changes', 100, false],
  ['far behind: gets a snapshot', 1000, true],
] as const)
  test(`a node that is ${what}`, () => {
    const mesh = new Mesh(1, { ownChanges: 500 }).start(3)
    const [owner, behind] = mesh.nodes
    for (let key = 0; key < 300; key++) owner!.gossip.own.set(`f${key}`, 1)
    equalWithin(mesh, 1000)
    mesh.link((a, b) => a !== behind && b !== behind)
    for (let change = 0; change < changes; change++)
      owner!.gossip.own.set(`f${(change * 7) % 400}`, change % 3 === 0 ? 0 : change)
    mesh.run(3000)
    const frames = crossing(mesh, () =>
      equalWithin(
        mesh.link(() => true),
        1000,
      ),
    )
    expect(frames.has(FrameType.snapshot)).toBe(snapshot)
    expect(behind!.gossip.counts.mismatches).toBe(0)
  })

test('a snapshot goes on where the link broke', () => {
  const mesh = new Mesh(1, { window: 2, frameBytes: 500, splitAt: 100, ownChanges: 10 }, [5, 5]).start(2).run(100)
  const [owner, other] = mesh.nodes
  mesh.link(() => false)
  for (let key = 0; key < 5000; key++) owner!.gossip.own.set(`filter/${key}/temperature`, 1)
  const whole = crossing(
    mesh.link(() => true),
    () => equalWithin(mesh, 20_000),
  ).get(FrameType.snapshot)!
  // Once more, with ten breaks.
  mesh.link(() => false)
  other!.stop()
  other!.start()
  let parts = 0
  for (let breaks = 0; breaks < 10; breaks++) {
    parts +=
      crossing(
        mesh.link(() => true),
        () => mesh.run(50),
      ).get(FrameType.snapshot) ?? 0
    mesh.link(() => false)
  }
  expect(mesh.equal).toBe(false)
  parts +=
    crossing(
      mesh.link(() => true),
      () => equalWithin(mesh, 20_000),
    ).get(FrameType.snapshot) ?? 0
  expect(parts).toBeLessThan(whole + 60)
  expect(parts).toBeGreaterThanOrEqual(whole)
})

test('a table comes over others where there is no link to its owner', () => {
  const mesh = new Mesh(1).start(4).link((a, b) => b.index - a.index === 1)
  mesh.nodes[0]!.gossip.own.set('fa', 1)
  equalWithin(mesh, 10_000)
  mesh.nodes[3]!.gossip.own.set('fb', 1)
  equalWithin(mesh, 10_000)
})

test('a node that comes with an incarnation that it had before takes a newer one', () => {
  const mesh = new Mesh(1).start(3)
  const [node] = mesh.nodes
  for (let key = 0; key < 5; key++) node!.gossip.own.set(`f${key}`, 1)
  equalWithin(mesh, 1000)
  node!.stop()
  node!.start(1)
  node!.gossip.own.set('fx', 1)
  mesh.link(() => true)
  equalWithin(mesh, 5000)
  expect(node!.taken).toEqual([1])
  expect(node!.gossip.own.incarnation).toBe(2)
  expect([...mesh.nodes[2]!.gossip.owner('n0')!.entries()]).toEqual([['fx', 1]])
})

test('one that starts anew without a word is heard to have nothing', () => {
  const mesh = new Mesh(1).start(3)
  mesh.nodes[0]!.gossip.own.set('fx', 1)
  equalWithin(mesh, 1000)
  mesh.nodes[0]!.stop()
  mesh.nodes[0]!.start()
  mesh.nodes[0]!.gossip.own.set('fy', 1)
  mesh.nodes[0]!.gossip.own.set('fy', 0)
  mesh.link(() => true)
  equalWithin(mesh, 5000)
  for (const { gossip } of mesh.nodes) expect(gossip.owner('n0')!.size).toBe(0)
})

// ── the barrier ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Two nodes, 5 ms apart; the first waits for what it has set. */
function barrier(mostMs: number, meanwhile: (mesh: Mesh) => void = () => {}): { atMs: number; confirmed?: boolean } {
  const mesh = new Mesh(1, {}, [5, 5]).start(2).run(1000)
  const { own } = mesh.nodes[0]!.gossip
  const fromMs = mesh.agenda.nowMs
  const told: { atMs: number; confirmed?: boolean } = { atMs: 0 }
  own.set('fa', 1)
  mesh.nodes[0]!.gossip.whenConfirmed(['n0', 'n1'], mostMs, (confirmed) => {
    expect(told.confirmed, 'told once').toBe(undefined)
    Object.assign(told, { confirmed, atMs: mesh.agenda.nowMs - fromMs })
    if (confirmed) expect(mesh.nodes[1]!.gossip.owner('n0')!.get('fa')).toBe(1)
  })
  meanwhile(mesh)
  mesh.run(3000)
  expect(mesh.nodes[0]!.gossip.counts.missed).toBe(told.confirmed ? 0 : 1)
  return told
}

const relink = (mesh: Mesh, atMs: number) => mesh.agenda.after(atMs, { run: () => void mesh.link(() => true) })

for (const [what, mostMs, meanwhile, confirmed, atMs] of [
  ['both have it after one way and back', 250, () => {}, true, [10, 11]],
  ['no time: no', 0, () => {}, false, [0, 0]],
  ['less time than the way takes: no, and then', 7, () => {}, false, [7, 20]],
  ['no link: no, when the time is over', 250, (mesh: Mesh) => mesh.link(() => false), false, [250, 265]],
  [
    'a link that breaks, and comes up again in time',
    250,
    (mesh: Mesh) =>
      relink(
        mesh.run(2).link(() => false),
        100,
      ),
    true,
    [110, 130],
  ],
  [
    'what changes meanwhile is not waited for',
    250,
    (mesh: Mesh) => {
      for (let key = 0; key < 40; key++) mesh.run(1).nodes[0]!.gossip.own.set(`fb${key}`, 1)
    },
    true,
    [10, 11],
  ],
  [
    'the other one has started anew: not before it has it',
    250,
    (mesh: Mesh) => {
      mesh.run(7).nodes[1]!.stop()
      mesh.nodes[1]!.start()
      relink(mesh, 50)
    },
    true,
    [60, 90],
  ],
] as const)
  test(`the barrier: ${what}`, () => {
    const told = barrier(mostMs, meanwhile)
    expect(told.confirmed).toBe(confirmed)
    expect(told.atMs).toBeGreaterThanOrEqual(atMs[0])
    expect(told.atMs).toBeLessThanOrEqual(atMs[1])
  })

test('the barrier: at once when there is nothing to wait for; never more than 100,000 wait', () => {
  const mesh = new Mesh(1).start(2).run(1000)
  const { gossip } = mesh.nodes[0]!
  let [yes, no] = [0, 0]
  const then = (confirmed: boolean) => void (confirmed ? yes++ : no++)
  gossip.whenConfirmed(['n1'], 250, then)
  gossip.own.set('fa', 1)
  gossip.whenConfirmed([], 250, then)
  expect([yes, no]).toEqual([2, 0])
  expect(gossip.confirmed(['n1'])).toBe(false)
  for (let waits = 0; waits < 100_003; waits++) gossip.whenConfirmed(['n1'], 250, then)
  expect([yes, no]).toEqual([2, 3])
  mesh.run(100)
  expect([yes, no]).toEqual([100_002, 3])
  expect(gossip.counts.missed).toBe(3)
  expect(gossip.confirmed(['n1'])).toBe(true)
})

test('a node that was given up before its table came here is not taken from others, until it starts anew', () => {
  const mesh = new Mesh(1).start(3).link((a, b) => a.index + b.index !== 1)
  const [node, joined, other] = mesh.nodes
  node!.gossip.own.set('fx', 1)
  mesh.run(20)
  expect(other!.gossip.owner('n0')!.size).toBe(1)
  node!.stop()
  joined!.gossip.forget('n0', 1)
  mesh.run(10_000)
  expect(joined!.gossip.owner('n0')).toBe(undefined)
  node!.start()
  node!.gossip.own.set('fy', 1)
  mesh.link((a, b) => a.index + b.index !== 1).run(5000)
  expect([...joined!.gossip.owner('n0')!.entries()]).toEqual([['fy', 1]])
})

test('a node that is given up, and comes again while its keys are being removed, is asked for its table', () => {
  const mesh = new Mesh(1, { budgetMs: 0 }).start(2)
  const [node, other] = mesh.nodes
  for (let key = 0; key < 5000; key++) node!.gossip.own.set(`f${key}`, 1)
  equalWithin(mesh, 1000)
  node!.stop()
  other!.gossip.forget('n0')
  node!.start()
  mesh.link(() => true).run(1000)
  expect(node!.gossip.confirmed(['n1'])).toBe(true)
  node!.gossip.own.set('fx', 1)
  mesh.run(20)
  expect([...other!.gossip.owner('n0')!.entries()]).toEqual([['fx', 1]])
})
