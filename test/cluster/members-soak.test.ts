import { expect, test } from 'vitest'
import { MembersWorld } from './members-world.ts'

const seeds = Number(process.env.MEMBERS_SEEDS ?? 5)
const hourMs = 3_600_000
/** 1,000 run, too: they cost ten times as much. */
const many = Number(process.env.MEMBERS_NODES ?? 300)

for (let seed = 0; seed < seeds; seed++)
  test(`seed ${seed}: an hour of 5% loss, ten nodes that stand still for 2 s now and then: no false death`, () => {
    const world = new MembersWorld(seed, { loss: 0.05 }).start(10)
    let stalls = 0
    for (const node of world.nodes) {
      const next = () =>
        void world.time.after(world.dice.between(5000, 60_000), () => {
          stalls++
          node.stall(2000)
          next()
        })
      next()
    }
    world.run(hourMs)
    expect(stalls).toBeGreaterThan(900)
    expect(world.deaths()).toEqual([])
    world.run(10_000)
    // And the one that does die is found all the same.
    const silent = world.nodes[seed % 10]!
    world.until(() => !silent.still, 2000)
    silent.stall(1e9)
    const others = world.nodes.filter((node) => node !== silent)
    expect(world.until(() => world.agree(silent, ['dead'], others), 30_000)).toBeLessThan(12_000)
  })

test(`${many} nodes join, find a killed one and a silent one`, { timeout: 180_000 }, () => {
  const world = new MembersWorld(1)
  world.start(many, 5, 0)
  expect(world.until(() => world.whole, 20_000, 250)).toBeLessThan(5000)
  expect(world.deaths()).toEqual([])
  world.run(2000)
  const [killed, silent] = [world.nodes[Math.floor(many / 2)]!, world.nodes[Math.floor(many / 3)]!]
  killed.kill()
  expect(world.until(() => world.agree(killed, ['dead']), 5000)).toBeLessThan(2000)
  silent.stall(1e9)
  const others = world.running.filter((node) => node !== silent)
  expect(world.until(() => world.agree(silent, ['dead'], others), 30_000)).toBeLessThan(15_000)
  expect(new Set(world.deaths().map(({ about }) => about))).toEqual(new Set([killed.name, silent.name]))
  killed.restart(world.nodes[7]!)
  expect(world.until(() => world.agree(killed, ['alive'], others), 5000)).toBeLessThan(1000)
})

test('100 nodes, halved for half a minute: five seconds later all see all', () => {
  const world = new MembersWorld(2).start(100)
  world.part(world.nodes.slice(0, 50), world.nodes.slice(50))
  world.run(30_000)
  const [first, last] = [world.nodes[0]!, world.nodes[99]!]
  expect([...first.members.alive()]).toHaveLength(49)
  expect([...last.members.all()]).toHaveLength(99)
  world.heal()
  const { length } = world.deaths()
  expect(world.until(() => world.whole, 10_000, 100)).toBeLessThan(5000)
  world.run(20_000)
  expect(world.whole).toBe(true)
  expect(world.deaths()).toHaveLength(length)
})
