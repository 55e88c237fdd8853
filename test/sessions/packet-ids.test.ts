import { expect, test } from 'vitest'
import { PacketIds } from '../../src/sessions/packet-ids.ts'
import { SeededRandom } from '../support/random.ts'

test('is a set, with few and with many, and back again', () => {
  const random = new SeededRandom(1)
  const [ours, model] = [new PacketIds(), new Set<number>()]
  let most = 0
  for (const [adds, span] of [
    [1, 65_535],
    [3, 300],
    [3, 65_535],
    [0, 65_535],
  ] as const)
    for (let times = 0; times < (adds === 0 ? 8000 : 4000); times++) {
      const id = 1 + random.below(span)
      if (random.below(4) < adds) {
        ours.add(id)
        model.add(id)
      } else {
        const gone = adds === 0 ? (model.values().next().value ?? id) : id
        expect(ours.delete(gone)).toBe(model.delete(gone))
      }
      expect([ours.has(id), ours.size]).toEqual([model.has(id), model.size])
      if (times % 500 === 0) expect([...ours].sort((a, b) => a - b)).toEqual([...model].sort((a, b) => a - b))
      most = Math.max(most, ours.bytes)
    }
  expect([most, ours.size, ours.bytes]).toEqual([8192, 0, 0])
})

test('all that there are: 8 KiB', () => {
  const ids = new PacketIds()
  for (let id = 1; id <= 65_535; id++) ids.add(id)
  expect([ids.size, ids.bytes, ids.has(65_535), ids.has(0)]).toEqual([65_535, 8192, true, false])
  expect([...ids]).toHaveLength(65_535)
})
