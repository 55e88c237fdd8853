import { test } from 'vitest'
import type { Habits } from './crowd.ts'
import { runTown, shapes } from './seeds.ts'

const moves: Partial<Habits> = { move: 25 }
const movesAndFalls: Partial<Habits> = { move: 15, fall: 4 }
const movesAndRaces: Partial<Habits> = { move: 25, leave: 6, race: 4, wills: 40 }
const movesAndParts: Partial<Habits> = { move: 10, leave: 4, part: 4, oneWay: 2, pause: 2 }
const everything: Partial<Habits> = {
  ...{ move: 10, leave: 4, race: 3, wills: 30, fall: 4, part: 3, oneWay: 2, breaks: 3, pause: 2 },
}

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
  [
    684,
    movesAndRaces,
    'a client took what it had under way in a session that ended with its connection into the next one: that was wrong',
  ],
  [
    1070,
    movesAndRaces,
    'a CONNECT that was given up began a second session where the first was not known yet: that was called wrong',
  ],
  [388, movesAndParts, 'a clean start that could not know of another session: that was called wrong'],
  [
    898,
    movesAndParts,
    'a session expired on its way, and a CONNECT that was given up began another: that was called wrong',
  ],
  [1024, movesAndParts, 'a client whose session was on its way was sent away for want of a CONNECT, and not told why'],
  [
    1874,
    movesAndParts,
    'what a client had confirmed at the old node came late from one that was cut off from the new one',
  ],
  [371, everything, 'a session came to a node that knew of a newer one already: two owners for good'],
  [249, movesAndFalls, 'a node let clients in before it had heard of one that it remembered: a session began anew'],
  [42, everything, 'that a group had no member was said on a link that broke: the copy was lost'],
  [
    1026,
    everything,
    'a node that the new owner could not reach heard that a session had left, and gave up what was to follow it',
  ],
  [2173, everything, 'what a client had confirmed came again from a node where its session had been before'],
  [
    506,
    { move: 12, leave: 4, drain: 3, expires: 10 },
    'a client asked for a session that a node being emptied was giving to us: a subscription was left for good',
  ],
  [285, { fall: 25, publish: 70 }, 'streams that another node had ended meanwhile were called a leak'],
  [2146, { move: 15, fall: 4 }, 'what a session had got straight came again, by the node that it had left first'],
  [
    3113,
    { move: 12, fall: 5, breaks: 2, expires: 25, classes: true },
    'a packet id that a client held named another message after a crash',
  ],
  [
    5508,
    { move: 12, leave: 4, drain: 3, expires: 10 },
    'a node that had left brought back what others had of it, and had forgotten',
  ],
  [
    9614,
    { move: 8, fall: 2, part: 2, evict: 2 },
    'what may straggle for a session that has ended, and is looked for behind a start, was called a leak',
  ],
  [
    13875,
    everything,
    'a clean start that could not know of a session behind a partition, which was there again: called wrong',
  ],
  [
    14373,
    { move: 12, leave: 4, drain: 3, expires: 10 },
    'the same, of a session that had begun a moment before on another node',
  ],
]

/** Worlds in which something was wrong once, of kinds of trouble that have changed since. */
const elsewhere = [244, 447, 625, 681, 1250, 1361]

test.each(found)('seed %i, %o: %s', (seed, habits) => {
  runTown(seed, undefined, habits)
})

test.each(elsewhere)('seed %i, with each kind of trouble', (seed) => {
  for (const shape of shapes) runTown(seed, undefined, shape)
})
