import { describe, expect, test } from 'vitest'
import type { AedesPacket } from '../../src/aedes/packet.ts'
import { AedesWorld } from './world.ts'

const seeds = Number(process.env.AEDES_SEEDS ?? 40)
const only = process.env.AEDES_SEED

describe('whatever Aedes asks for, and whenever it is cut off', () => {
  for (let seed = Number(only ?? 0); seed < (only === undefined ? seeds : Number(only) + 1); seed++)
    test(`what was answered is there, and nothing that nobody asked for (AEDES_SEED=${seed})`, async () => {
      const world = new AedesWorld(seed)
      await world.open()
      for (let life = 0; life < 4; life++) {
        for (let deeds = world.dice.below(120); deeds > 0; deeds--) {
          world.act()
          await world.goOn(world.dice.below(world.dice.chance(0.02) ? 200 : 8))
        }
        await world.fall(world.dice.pick(['kill', 'crash', 'crash', 'close']))
      }
      expect(world.persistence.broker).toEqual({ id: 'broker 4' })
    })
})

test('what waits for long is found where it was copied to', async () => {
  const world = new AedesWorld(0)
  await world.open()
  const { persistence } = world
  const origin = { cmd: 'publish', topic: 't', qos: 1 as const, brokerId: 'b' }
  const waiting: string[] = []
  for (let round = 0; round < 300 || world.store.figures.copiedBytes === 0; round++) {
    expect(round).toBeLessThan(2000)
    const to = round % 20 === 0 ? ['slow', 'quick'] : ['quick']
    const packet = { ...origin, payload: `${round} ${'x'.repeat(300)}`, brokerCounter: round + 1, messageId: round + 1 }
    if (to.length > 1) waiting.push(packet.payload)
    const subscriptions = to.map((clientId) => ({ clientId }))
    await world.answer(persistence.outgoingEnqueueCombi(subscriptions, packet))
    await persistence.outgoingUpdate({ id: 'quick' }, packet)
    await world.answer(persistence.outgoingClearMessageId({ id: 'quick' }, packet))
  }
  await world.goOn(1000)
  const read = () => world.read<AedesPacket>(world.persistence.outgoingStream({ id: 'slow' }))
  expect((await read()).map(({ payload }) => String(payload))).toEqual(waiting)
  await world.fall('crash')
  expect((await read()).map(({ payload }) => String(payload))).toEqual(waiting)
})
