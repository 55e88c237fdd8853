import { expect, test } from 'vitest'
import { Confirmations } from '../../src/cluster/confirmations.ts'
import { Digests } from '../../src/cluster/digests.ts'
import { Feeds } from '../../src/cluster/feeds.ts'
import { Intake } from '../../src/cluster/intake.ts'
import { Owners } from '../../src/cluster/owners.ts'
import { Recent, Table } from '../../src/cluster/tables.ts'
import { patch } from '../sim/patch.ts'
import { Mesh } from './gossip-mesh.ts'
import { runModel } from './gossip-model.ts'

// Bugs that we plant, to see that the model finds them: each changes one method while it runs.

const mostSeeds = 100

const models: readonly (readonly [what: string, rule: RegExp, plant: () => () => void])[] = [
  [
    'the set hash does not follow a removal',
    /snapshot was not what its hash says|tables differ|the owner had/,
    () =>
      patch(
        Table.prototype,
        'set',
        (set) =>
          function (this: Table, key, value) {
            const { low, high } = this
            const before = set.call(this, key, value)
            if (value === 0) Object.assign(this, { low, high })
            return before
          },
      ),
  ],
  [
    'a snapshot adds, and removes nothing',
    /not what its hash says|tables differ/,
    () =>
      patch(
        Table.prototype,
        'part',
        (part) =>
          function (this: Table, position) {
            const keys = part.call(this, position)
            return Object.assign(new Map(keys), { keys: () => new Map<string, number>().keys() })
          },
      ),
  ],
  [
    'the log of changes is not begun anew with a snapshot',
    /the owner had|was not|tables differ|reading 'length'|not confirmed|not what its hash/,
    () =>
      patch(
        Recent.prototype,
        'restart',
        () =>
          function (this: Recent, version) {
            this.until = version
          },
      ),
  ],
  [
    'the log of changes forgets, and does not know it',
    /the owner had|tables differ|not what its hash/,
    () =>
      patch(
        Recent.prototype,
        'push',
        (push) =>
          function (this: Recent, key, value) {
            const { since } = this
            push.call(this, key, value)
            if (since > 0 || this.since === since) return
            this.since = since
          },
      ),
  ],
  [
    'what a broken link had confirmed counts for the next one',
    /tables differ|confirmed|verified/,
    () => patch(Feeds.prototype, 'unlinked', () => () => {}),
  ],
  [
    'a peer counts as having what it was only sent',
    /confirmed: /,
    () => patch(Feeds.prototype, 'confirmed', () => () => true),
  ],
  ['nothing is confirmed', /tables differ|not confirmed/, () => patch(Intake.prototype, 'flush', () => () => {})],
  [
    'what found no place in its turn is lost',
    /tables differ/,
    () => patch(Intake.prototype, 'work', () => () => false),
  ],
  ['nobody asks for what is missing', /tables differ/, () => patch(Intake.prototype, 'ask', () => () => {})],
]

for (const [what, rule, plant] of models)
  test(`found by the model: ${what}`, () => {
    const undo = plant()
    let fault: unknown
    let seed = 0
    try {
      for (; seed < mostSeeds && fault === undefined; seed++)
        try {
          runModel(seed)
        } catch (thrown) {
          fault = thrown
        }
    } finally {
      undo()
    }
    expect((fault as Error | undefined)?.message, `${seed} seeds`).toMatch(rule)
    runModel(seed)
  })

/** A chain: what the first tells reaches the last over those between. */
function reachesTheLast(): boolean {
  const mesh = new Mesh(1).start(4).link((a, b) => b.index - a.index === 1)
  mesh.nodes[0]!.gossip.own.set('fa', 1)
  return mesh.until(() => mesh.equal, 10_000) < Infinity
}

function evictedStaysAway(): boolean {
  const mesh = new Mesh(1).start(4)
  mesh.nodes[0]!.gossip.own.set('fa', 1)
  mesh.run(2000)
  mesh.nodes[0]!.stop()
  // One does not hear of it.
  for (const { gossip } of mesh.nodes.slice(1, 3)) gossip.forget('n0')
  mesh.run(5000)
  return mesh.nodes.slice(1, 3).every(({ gossip }) => gossip.owner('n0') === undefined)
}

/** With an incarnation that it had before. */
function returns(): boolean {
  const mesh = new Mesh(1).start(3)
  const [node] = mesh.nodes
  for (let key = 0; key < 5; key++) node!.gossip.own.set(`f${key}`, 1)
  mesh.run(1000)
  node!.stop()
  node!.start(1)
  node!.gossip.own.set('fx', 1)
  mesh.link(() => true)
  return mesh.until(() => mesh.equal, 5000) < Infinity
}

/** Those who wait hear of it when it is so, not when their time is over. */
function waitsNoLonger(): boolean {
  const mesh = new Mesh(1).start(2).run(1000)
  const fromMs = mesh.agenda.nowMs
  let atMs = Infinity
  mesh.nodes[0]!.gossip.own.set('fa', 1)
  mesh.nodes[0]!.gossip.whenConfirmed(['n1'], 250, () => (atMs = mesh.agenda.nowMs))
  mesh.run(1000)
  return atMs - fromMs < 20
}

const scenarios: readonly (readonly [what: string, holds: () => boolean, plant: () => () => void])[] = [
  ['no digests', reachesTheLast, () => patch(Digests.prototype, 'tick', () => () => {})],
  ['the hash over all states does not move', reachesTheLast, () => patch(Owners.prototype, 'touch', () => () => {})],
  ['an eviction is forgotten', evictedStaysAway, () => patch(Intake.prototype, 'isForgotten', () => () => false)],
  ['that our incarnation is taken is no matter', returns, () => patch(Intake.prototype, 'taken', () => () => {})],
  ['nobody looks who waits', waitsNoLonger, () => patch(Confirmations.prototype, 'check', () => () => {})],
]

for (const [what, holds, plant] of scenarios)
  test(`found: ${what}`, () => {
    expect(holds(), 'without the bug').toBe(true)
    const undo = plant()
    try {
      expect(holds(), 'with the bug').toBe(false)
    } finally {
      undo()
    }
  })
