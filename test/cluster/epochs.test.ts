import { describe, expect, test } from 'vitest'
import { cleanEpoch, firstEpoch, freshEpoch, hasEnded, isLater, movedEpoch } from '../../src/cluster/epochs.ts'
import { Dice } from '../sim/dice.ts'

const dice = new Dice(1)
const moved = (epoch: number, times: number) => Array.from({ length: times }).reduce<number>(movedEpoch, epoch)

describe('what one epoch says of another', () => {
  const first = firstEpoch(dice)
  const away = moved(first, 7)
  const fresh = freshEpoch(away, dice)
  const clean = cleanEpoch(fresh, dice)
  for (const [name, epoch, earlier, later, ended] of [
    ['moved', away, first, true, false],
    ['the other way round', first, away, false, false],
    ['itself', first, first, false, false],
    ['another that is new', firstEpoch(dice), first, false, false],
    ['fresh', fresh, away, false, false],
    ['a clean start', clean, away, false, true],
    ['a clean start, of a fresh one', clean, fresh, false, true],
    ['a clean start that has moved far', moved(clean, 5000), away, false, true],
    ['a clean start that has moved', moved(clean, 4000), away, false, true],
    ['a clean start, of what has moved on meanwhile', moved(clean, 10), moved(away, 10), false, false],
  ] as const)
    test(name, () => expect([isLater(epoch, earlier), hasEnded(epoch, earlier)]).toEqual([later, ended]))

  test('each is higher than what it comes from, and a claim has room for it', () => {
    expect([first, away, fresh, clean]).toEqual([first, away, fresh, clean].sort((a, b) => a - b))
    expect(Number.isSafeInteger(moved(clean, 100_000) * 2 + 1)).toBe(true)
  })
})
