import { expect, test } from 'vitest'
import { runSeed } from './seeds.ts'

const seeds = Number(process.env.SIM_SEEDS ?? 1000)
const only = process.env.SIM_SEED

// A broken seed is printed with what replays it; `SIM_SEED=… npx vitest run test/sim/sim.test.ts` prints all that crossed.
function run(seed: number, tell?: (line: string) => void): number {
  try {
    return runSeed(seed, tell)
  } catch (fault) {
    const replay = `SIM_SEED=${seed} npx vitest run test/sim/sim.test.ts`
    throw new Error(`seed ${seed}: ${fault instanceof Error ? fault.message : String(fault)}\n  ${replay}`, {
      cause: fault,
    })
  }
}

if (only !== undefined)
  test(`seed ${only}`, () => {
    run(Number(only), (line) => void process.stdout.write(`${line.slice(0, 300)}\n`))
  })
else {
  test(`${seeds} seeds: nobody is promised what does not hold`, { timeout: 60_000 + seeds * 200 }, () => {
    for (let seed = 0; seed < seeds; seed++) run(seed)
  })

  test('a seed is a world: run twice, the same bytes cross', () => {
    for (let seed = 0; seed < 25; seed++) expect(run(seed), `seed ${seed}`).toBe(run(seed))
  })
}
