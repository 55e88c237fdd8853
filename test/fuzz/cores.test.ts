import { expect, test } from 'vitest'
import { campaign } from './campaign.ts'
import { printScript } from './script.ts'

// FUZZ_FRAMES=10000000 FUZZ_SEED=7 npx vitest run test/fuzz/cores.test.ts; or `npm run fuzz`.

const frames = Number(process.env.FUZZ_FRAMES ?? 2_000_000)
const seed = Number(process.env.FUZZ_SEED ?? 1)

test(`${frames} mutated frames from seed ${seed} throw nothing, hang nothing and leave nothing`, async () => {
  const { found, features, heapGrowthBytes } = await campaign({ frames, seed })
  if (found)
    throw new Error(`${found.finding.message}\n${found.habits.name}:\n${printScript(found.script)}`, {
      cause: found.finding,
    })
  expect(heapGrowthBytes).toBeLessThan(20_000_000)
  // The mutants go where the rules are.
  if (frames >= 1_000_000) expect(features).toBeGreaterThan(1000)
}, 3_600_000)
