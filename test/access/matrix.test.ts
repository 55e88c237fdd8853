import { expect, test } from 'vitest'
import { compare } from './matrix-world.ts'

// The permission matrix: a million random questions against the oracle, a part of them with each change.
//   MATRIX_CASES=10000000 MATRIX_SEED=7 npx vitest run test/access/matrix.test.ts
const cases = Number(process.env.MATRIX_CASES ?? 1_000_000)
const seed = Number(process.env.MATRIX_SEED ?? 1)

test(`${cases} questions: no answer differs from the oracle's`, { timeout: 600_000 }, () => {
  expect(compare(seed, cases)).toBeUndefined()
})
