import { expect, test } from 'vitest'
import { runTown, shapes } from './seeds.ts'

// SIM_SEEDS, SIM_FROM: how many, from which one. SIM_SHAPE: one kind of trouble, by its place in `shapes`; default: each seed
// has its own. SIM_SEED: that one only, and all that crossed is printed.
const seeds = Number(process.env.SIM_SEEDS ?? 2000)
const first = Number(process.env.SIM_FROM ?? 0)
const { SIM_SEED: only, SIM_SHAPE: shape } = process.env

function run(seed: number, tell?: (line: string) => void): number {
  try {
    return runTown(seed, tell, shape === undefined ? undefined : shapes[Number(shape)])
  } catch (fault) {
    const how = `${shape === undefined ? '' : `SIM_SHAPE=${shape} `}SIM_SEED=${seed}`
    const replay = `${how} npx vitest run test/sim/cluster/cluster.test.ts`
    throw new Error(`seed ${seed}: ${fault instanceof Error ? fault.message : String(fault)}\n  ${replay}`, {
      cause: fault,
    })
  }
}

if (only !== undefined)
  test(`seed ${only}`, () => {
    run(Number(only), (line) => void process.stdout.write(`${line.slice(0, 300)}\n`))
  })
else
  test(`${seeds} clusters: what was promised holds`, { timeout: 60_000 + seeds * 1000 }, () => {
    for (let seed = first; seed < first + seeds; seed++) {
      const hash = run(seed)
      // A seed is a world: run twice, the same bytes cross.
      expect(run(seed), `seed ${seed}`).toBe(hash)
    }
  })
