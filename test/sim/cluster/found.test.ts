import { test } from 'vitest'
import type { Habits } from './crowd.ts'
import { runTown } from './seeds.ts'

const moves: Partial<Habits> = { move: 25 }
const movesAndFalls: Partial<Habits> = { move: 15, fall: 4 }
const movesAndRaces: Partial<Habits> = { move: 25, leave: 6, race: 4, wills: 40 }

/** Worlds in which something was wrong once. */
const found: readonly (readonly [seed: number, habits: Partial<Habits>, what: string])[] = [
  [295, moves, 'a session began anew, as the one asked for had just gone on to a third node'],
  [301, moves, 'the same'],
  [511, moves, 'the same'],
  [566, moves, 'what a client had confirmed at the old node came late to the new one, and again to the client'],
  [1070, moves, 'a third node heard that a session had left, and not yet where it was: it began a new one'],
  [
    479,
    movesAndFalls,
    'each start of a node whose clock was wrong numbered its messages from the same number on: one got lost',
  ],
  [558, movesAndFalls, 'what a node had taken up at its start was called a leak'],
  [
    399,
    movesAndRaces,
    'a CONNECT that was given up began a session later than the one after it: that was called wrong',
  ],
]

test.each(found)('seed %i, %o: %s', (seed, habits) => {
  runTown(seed, undefined, habits)
})
