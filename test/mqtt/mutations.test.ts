import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { SeededRandom } from '../support/random.ts'
import { compare, type Vector } from './compare.ts'
import { smallVectors } from './corpus.ts'
import { Rig } from './line.ts'
import { mutate } from './mutate.ts'
import { stricter } from './stricter.ts'

// FUZZ_FRAMES=3000000 FUZZ_SEED=1 npx vitest run test/mqtt/mutations.test.ts
// A failure names the seed of its mutant: with FUZZ_FRAMES=1 that one comes again.

const frames = Number(process.env.FUZZ_FRAMES ?? 300_000)
const seed = Number(process.env.FUZZ_SEED ?? 1)
const corpus = smallVectors()

test(`${frames} mutants from seed ${seed}: both codecs read the same or refuse, and nothing breaks or grows`, () => {
  const rig = new Rig()
  const met = new Set<object>()
  let refused = 0
  let heapAtStart = 0
  const { stackTraceLimit } = Error
  // A stack for each refusal would take half the time.
  Error.stackTraceLimit = 0
  for (let at = 0; at < frames; at++) {
    const { vector, cuts } = mutant(seed + at)
    try {
      const verdict = compare(rig, vector, cuts)
      if (verdict.end === 'stricter') met.add(verdict.rule)
      else if (verdict.end === 'refused') refused++
    } catch {
      Error.stackTraceLimit = stackTraceLimit
      explain(seed + at)
    }
    rig.clauses.length = 0
    // By then what is cached is cached.
    if (at === Math.floor(frames / 10)) heapAtStart = heapAfterCollection()
  }
  Error.stackTraceLimit = stackTraceLimit
  expect(heapAfterCollection() - heapAtStart).toBeLessThan(20_000_000)
  if (frames < 100_000) return
  expect(refused).toBeGreaterThan(frames / 20)
  // The mutants go where the differences are.
  const unmet = stricter.filter((rule) => !met.has(rule)).map(({ clause, what }) => `${clause}: ${what}`)
  expect(unmet).toEqual([])
}, 3_600_000)

function mutant(ownSeed: number): { vector: Vector; cuts: number[] } {
  const random = new SeededRandom(ownSeed)
  const vector = mutate(random, corpus)
  const cuts = Array.from({ length: random.below(3) }, () => random.below(vector.bytes.length + 1))
  return { vector, cuts: cuts.sort((a, b) => a - b) }
}

/** Fails with all that is to be known about a mutant on which the codecs disagree. */
function explain(ownSeed: number): never {
  const { vector, cuts } = mutant(ownSeed)
  let cause: unknown = new Error('alone it passes: it depends on what came before')
  try {
    compare(new Rig(), vector, cuts)
  } catch (fault) {
    cause = fault
  }
  const hex = Buffer.from(vector.bytes).toString('hex')
  const what = `FUZZ_SEED=${ownSeed} FUZZ_FRAMES=1: ${vector.name}\nversion ${vector.version}, cut at [${cuts.join(' ')}], ${hex}`
  throw new Error(`${what}\n${(cause as Error).message}`, { cause })
}

setFlagsFromString('--expose_gc')
const collect = runInNewContext('gc') as () => void

function heapAfterCollection(): number {
  collect()
  return process.memoryUsage().heapUsed
}
