import { expect, test } from 'vitest'
import { runTown, shapes } from './seeds.ts'

const seeds = Number(process.env.SIM_SEEDS ?? 300)
const first = Number(process.env.SIM_FROM ?? 0)
const only = process.env.SIM_SEED
/** Sessions that move, races, wills and pauses as well: for who hunts. Some of these seeds are known to fail. */
const habits = process.env.SIM_HUNT === '1' ? undefined : shapes[0]

// A broken seed is printed with what replays it: `SIM_SEED=… npx vitest run test/sim/cluster/cluster.test.ts` prints all that
// crossed.
function run(seed: number, tell?: (line: string) => void): number {
  try {
    return runTown(seed, tell, habits)
  } catch (fault) {
    const replay = `${habits ? '' : 'SIM_HUNT=1 '}SIM_SEED=${seed} npx vitest run test/sim/cluster/cluster.test.ts`
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
  test(`${seeds} clusters: what was promised holds`, { timeout: 60_000 + seeds * 1000 }, () => {
    for (let seed = first; seed < first + seeds; seed++) run(seed)
  })

  test('a seed is a world: run twice, the same bytes cross', { timeout: 60_000 }, () => {
    for (let seed = first; seed < first + 25; seed++) expect(run(seed), `seed ${seed}`).toBe(run(seed))
  })
}
