import { expect, test } from 'vitest'
import { AwakeTime } from '../../src/cluster/awareness.ts'
import { Listing } from '../../src/cluster/listing.ts'
import { Known } from '../../src/cluster/member.ts'
import { Probing } from '../../src/cluster/probing.ts'
import { Rumours } from '../../src/cluster/rumours.ts'
import { Suspicion } from '../../src/cluster/suspicion.ts'
import { patch } from '../sim/patch.ts'
import { MembersWorld, type SimNode } from './members-world.ts'

// Bugs that we plant, to see that the scenarios find them: each changes one method while a world runs.

/** Five nodes, of which one is cut off and comes back. */
function heals(): boolean {
  const world = new MembersWorld(3).start(5)
  world.part(world.nodes.slice(0, 1), world.nodes.slice(1))
  world.run(8000)
  world.heal()
  world.run(5000)
  return world.whole
}

function silentIsFound(): boolean {
  const world = new MembersWorld(3).start(5)
  const silent = world.nodes[2]!
  silent.stall(1e9)
  world.run(6000)
  return world.agree(
    silent,
    ['dead'],
    world.nodes.filter((node) => node !== silent),
  )
}

function returns(): boolean {
  const world = new MembersWorld(3).start(5)
  world.nodes[2]!.kill()
  world.run(4000)
  world.nodes[2]!.restart(world.nodes[0]!)
  world.run(2000)
  return world.whole
}

function judgesNobodyAfterStandingStill(): boolean {
  const world = new MembersWorld(3).start(5)
  for (let times = 0; times < 20; times++) {
    // It has just begun to suspect one that stands still, too, when it does itself.
    world.nodes[2]!.stall(1500)
    world.run(1000)
    world.nodes[1]!.stall(20_000)
    world.run(25_000)
  }
  return world.deaths().every(({ about }) => about === 'n1')
}

function evictionSpreads(): boolean {
  const world = new MembersWorld(3).start(10)
  const node = world.nodes[2]!
  node.kill()
  world.run(3000)
  world.nodes[0]!.members.evict('n2')
  world.run(2000)
  return world.agree(node, [undefined])
}

function evictedStaysAway(): boolean {
  const world = new MembersWorld(3).start(5)
  world.nodes[0]!.members.evict('n2')
  const before = world.events.length
  world.run(10_000)
  return !world.events.slice(before).some(({ what, about }) => what === 'alive' && about === 'n2')
}

/** One that was away hears what happened meanwhile. */
function catchesUp(): boolean {
  const world = new MembersWorld(3).start(5)
  const [asked, gone, away] = world.nodes as [SimNode, SimNode, SimNode]
  gone.kill()
  world.part(
    [away],
    world.nodes.filter((node) => node !== away),
  )
  world.run(5000)
  asked.members.evict('n1')
  world.run(20_000)
  world.heal()
  world.run(10_000)
  return world.agree(gone, [undefined])
}

/** A pair whose link is cut, while the others reach both. */
function helpersHelp(): boolean {
  const world = new MembersWorld(3).start(3)
  const pair = (node: SimNode) => node.index < 2
  world.passes = (from, to) => !(pair(from) && pair(to))
  world.run(60_000)
  return !world.nodes[0]!.members.state('n1')?.startsWith('d') && world.deaths().length === 0
}

const mutants: readonly (readonly [what: string, holds: () => boolean, plant: () => () => void])[] = [
  [
    'a refutation is ignored',
    heals,
    () =>
      patch(
        Known.prototype,
        'compare',
        (compare) =>
          function (this: Known, claim) {
            return compare.call(this, { ...claim, refutation: this.refutation })
          },
      ),
  ],
  [
    'the incarnation is not compared',
    returns,
    () =>
      patch(
        Known.prototype,
        'compare',
        (compare) =>
          function (this: Known, claim) {
            return compare.call(this, { ...claim, incarnation: this.incarnation })
          },
      ),
  ],
  ['a suspicion never expires', silentIsFound, () => patch(Suspicion.prototype, 'deadlineMs', () => () => Infinity)],
  [
    'time that we stood still counts',
    judgesNobodyAfterStandingStill,
    () =>
      patch(
        AwakeTime.prototype,
        'pass',
        () =>
          function (this: AwakeTime, clockMs) {
            this.nowMs = clockMs
            return { late: false, judge: true }
          },
      ),
  ],
  ['news are told to nobody', evictionSpreads, () => patch(Rumours.prototype, 'take', () => () => [])],
  [
    'an eviction is no more final than a death',
    evictedStaysAway,
    () =>
      patch(
        Known.prototype,
        'compare',
        (compare) =>
          function (this: Known, claim) {
            if (this.standing === 'evicted' && claim.standing === 'alive') return 1
            return compare.call(this, claim)
          },
      ),
  ],
  ['lists that differ stay so', catchesUp, () => patch(Listing.prototype, 'lacks', () => () => false)],
  [
    'nobody pings for others, and nobody tells the suspect',
    silentAndHelpers,
    () => patch(Probing.prototype, 'tick', () => () => {}),
  ],
]

function silentAndHelpers(): boolean {
  return silentIsFound() && helpersHelp()
}

for (const [what, holds, plant] of mutants)
  test(`found: ${what}`, () => {
    expect(holds(), 'without the bug').toBe(true)
    const undo = plant()
    try {
      expect(holds(), 'with the bug').toBe(false)
    } finally {
      undo()
    }
  })
