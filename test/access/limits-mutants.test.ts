import { expect, test } from 'vitest'
import type * as World from './limits-world.ts'
import { type Mutant, planted } from '../support/planted.ts'

// Bugs that we plant in the limits, to see that the models find them.

const mutants: readonly Mutant[] = [
  [
    'a rest gives more than a burst',
    'access/token-bucket.ts',
    'Math.min(this.#most, this.#level + elapsedMs * this.#perMs)',
    'this.#level + elapsedMs * this.#perMs',
  ],
  [
    'fractions of a millisecond are given again',
    'access/token-bucket.ts',
    '    this.#atMs += elapsedMs\n',
    '    this.#atMs += elapsedMs - 1\n',
  ],
  [
    'a debt is forgiven',
    'access/token-bucket.ts',
    'Math.max(least, this.#level - cost * 1000)',
    'Math.max(0, this.#level - cost * 1000)',
  ],
  [
    'the wait is a millisecond short',
    'access/token-bucket.ts',
    'Math.ceil(-this.#level / this.#perMs)',
    'Math.floor(-this.#level / this.#perMs)',
  ],
  [
    'what is larger than a burst never passes',
    'access/token-bucket.ts',
    'Math.min(cost * 1000, this.#most)',
    'cost * 1000',
  ],
  [
    'a refusal is paid for',
    'access/token-bucket.ts',
    'return false\n    this.#level -= cost * 1000',
    'return (this.#level -= cost * 1000) > Infinity\n    this.#level -= cost * 1000',
  ],
  [
    'one too many at once',
    'access/connection-rates.ts',
    'neighbour.open >= this.#limits.atOnce',
    'neighbour.open > this.#limits.atOnce',
  ],
  [
    'a connection that has gone still counts',
    'access/connection-rates.ts',
    '--neighbour.open > 0',
    'neighbour.open > 0',
  ],
  [
    'whoever has gone is forgotten at once',
    'access/connection-rates.ts',
    '|| !bucket.full(nowMs)) return',
    '|| bucket.full(-1)) return',
  ],
  ['an IPv4 address in IPv6 is another one', 'access/address.ts', '    mappedV4(groups) ??', '    undefined ??'],
  ['each address of a /64 is another one', 'access/address.ts', '.slice(0, 4)', '.slice(0, 8)'],
  ['a whole /48 is one', 'access/address.ts', '.slice(0, 4)', '.slice(0, 3)'],
  ['loopback in IPv6 is limited', 'access/address.ts', 'group === (at === 7 ? 1 : 0)', 'group === (at === 7 ? 2 : 0)'],
  [
    'coming back pays a debt',
    'access/message-rates.ts',
    'this.#held.get(key) ?? this.#left.get(key) ??',
    'this.#held.get(key) ??',
  ],
  ['the shortest wait counts', 'access/message-rates.ts', 'if (ms > waitMs) waitMs = ms', 'waitMs = ms'],
  [
    'bytes are not counted when something is taken',
    'access/message-rates.ts',
    "bucket.take(counts === 'bytes' ? bytes : 1, nowMs)",
    "bucket.take(counts === 'bytes' ? 0 : 1, nowMs)",
  ],
  [
    'clients of the same id are one, whoever they are',
    'access/message-rates.ts',
    "`c${whose}\\0${user ?? ''}\\0${clientId}`",
    '`c${clientId}`',
  ],
  [
    'a user has no bucket of its own',
    'access/message-rates.ts',
    '`u${whose}\\0${user}`',
    '`u${whose}\\0${user}${clientId}`',
  ],
]

function differ({ bucketsDiffer, connectionsDiffer, messagesDiffer }: typeof World): string | undefined {
  return bucketsDiffer(1) ?? connectionsDiffer(1) ?? messagesDiffer(1)
}

test('the copy without a bug passes', async () => {
  const line = '`u${whose}\\0${user}`'
  expect(
    differ(await planted<typeof World>('access/limits-world.ts', ['none', 'access/message-rates.ts', line, line])),
  ).toBeUndefined()
})

for (const mutant of mutants)
  test(mutant[0], async () => {
    expect(differ(await planted<typeof World>('access/limits-world.ts', mutant))).toBeDefined()
  })
