import { expect, test } from 'vitest'
import { Mesh, type MeshNode } from './gossip-mesh.ts'

// Figures of many nodes: time is simulated, so that they are exact. SIM_SHOW=1 prints them.

function show(what: string, figure: string): void {
  if (process.env.SIM_SHOW) process.stdout.write(`  ${what}: ${figure}\n`)
}

/** Filters that come at 100 nodes, a thousand a second: after how long all others have each of them, in order. */
function visible(loss: number): number[] {
  const mesh = new Mesh(1).start(100)
  mesh.listens = false
  for (const { gossip } of mesh.nodes) for (let key = 0; key < 100; key++) gossip.own.set(`fstanding/${key}`, 1)
  expect(mesh.until(() => mesh.equal, 10_000)).toBeLessThan(10_000)
  const filters = 2000
  const begunMs: number[] = []
  const missing: number[] = []
  const tookMs: number[] = []
  for (const node of mesh.nodes)
    node.onChange = (_owner, key) => {
      const number = Number(key.slice('fnew/'.length))
      if (--missing[number]! === 0) tookMs.push(mesh.agenda.nowMs - begunMs[number]!)
    }
  mesh.loss = loss
  for (let number = 0; number < filters; number++) {
    begunMs[number] = mesh.agenda.nowMs
    missing[number] = 99
    mesh.dice.pick(mesh.nodes).gossip.own.set(`fnew/${number}`, 1)
    mesh.run(1)
  }
  mesh.run(5000)
  expect(tookMs).toHaveLength(filters)
  return tookMs.sort((a, b) => a - b)
}

for (const [what, loss, mostMs] of [
  ['links hold', 0, 200],
  // Half a second is what the mesh takes to notice and to link anew.
  ['one frame in 10,000 is the last of its link', 0.0001, 500 + 200],
] as const)
  test(`a new filter on all of 100 nodes, links of 1 to 5 ms, ${what}: p99 under ${mostMs} ms`, () => {
    const tookMs = visible(loss)
    const at = (share: number) => tookMs[Math.ceil(tookMs.length * share) - 1]!
    const [p50, p99, most] = [at(0.5), at(0.99), at(1)].map((ms) => ms.toFixed(1))
    show(`new filter on all of 100 nodes, ${what}`, `p50 ${p50} ms, p99 ${p99} ms, most ${most} ms`)
    expect(at(0.99)).toBeLessThan(mostMs)
  })

/** As `Links` does: a pair waits so long at most for its next attempt, and who is due is dialled in a tick. */
const dialMostMs = 1000
const tickMs = 100

/** When `node` dials one of those whom it waits for. Ticks of different nodes are at different times. */
function dueMs({ dice }: Mesh, node: MeshNode): number {
  return Math.ceil(dice.between(0, dialMostMs) / tickMs) * tickMs + (node.index % tickMs)
}

/** Halves are parted, and each changes; then links come up, each when it is dialled. Gives the time until all tables are equal. */
function heal(count: number): number {
  const mesh = new Mesh(1).start(count)
  mesh.listens = false
  const early = (node: MeshNode) => node.index % 10 === 0
  for (const node of mesh.nodes) if (early(node)) node.gossip.own.set('fbefore', 1)
  mesh.run(100)
  mesh.link((a, b) => a.index % 2 === b.index % 2)
  for (const node of mesh.nodes) {
    node.gossip.own.set(`f${node.index}`, 1)
    if (early(node)) node.gossip.own.set('fbefore', 0)
  }
  mesh.run(3000)
  const fromMs = mesh.agenda.nowMs
  for (const a of mesh.nodes)
    for (const b of mesh.nodes)
      if (b.index > a.index && a.index % 2 !== b.index % 2)
        mesh.agenda.after(dueMs(mesh, a), { run: () => a.connect(b) })
  const tookMs = mesh.until(() => mesh.equal, 10_000, 50)
  expect(mesh.agenda.nowMs - fromMs).toBe(tookMs)
  show(
    `tables equal after healing, ${count} nodes of gossip`,
    `${tookMs} ms, ${mesh.frames} frames, ${mesh.bytes} bytes in all`,
  )
  return tookMs
}

for (const [count, mostMs] of [
  [10, 2000],
  [100, 10_000],
  [1000, 10_000],
] as const)
  test(`${count} nodes of gossip, halved and healed: equal within ${mostMs / 1000} s`, { timeout: 120_000 }, () => {
    expect(heal(count)).toBeLessThan(mostMs)
  })
