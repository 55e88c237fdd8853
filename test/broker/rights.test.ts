import { expect, test } from 'vitest'
import { kinds, play, total } from './rights-world.ts'

// The permission matrix on a whole broker: what clients send, leave and ask for, and every message that comes or does not, live,
// retained, queued, in flight, shared and as a will, against the oracle. A million, or what fits:
//   RIGHTS_CASES=1000000 RIGHTS_SEED=7 npx vitest run test/broker/rights.test.ts
const cases = Number(process.env.RIGHTS_CASES ?? 200_000)
const seed = Number(process.env.RIGHTS_SEED ?? 1)

test(`${cases} answers of a broker: none differs from the oracle's`, { timeout: 1_800_000 }, async () => {
  const counts = await play(seed, cases)
  expect(total(counts)).toBeGreaterThanOrEqual(cases)
  for (const kind of kinds) expect(counts[kind], `${kind} of ${JSON.stringify(counts)}`).toBeGreaterThan(cases / 500)
  if (process.env.RIGHTS_CASES !== undefined) process.stdout.write(`${JSON.stringify(counts)}\n`)
})
