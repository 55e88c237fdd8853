import { test } from 'vitest'
import type { Habits } from './crowd.ts'
import { runTown } from './seeds.ts'

const moves: Partial<Habits> = { move: 25 }

/** Worlds in which something was wrong once. */
const found: readonly (readonly [seed: number, habits: Partial<Habits>, what: string])[] = [
  [295, moves, 'a session began anew, as the one asked for had just gone on to a third node'],
  [301, moves, 'the same'],
  [511, moves, 'the same'],
  [566, moves, 'what a client had confirmed at the old node came late to the new one, and again to the client'],
]

test.each(found)('seed %i, %o: %s', (seed, habits) => {
  runTown(seed, undefined, habits)
})
