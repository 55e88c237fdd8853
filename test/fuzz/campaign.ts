import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { SeededRandom } from '../support/random.ts'
import { Cores } from './cores.ts'
import { Finding } from './finding.ts'
import { type Habits, habits } from './habits.ts'
import { minimise } from './minimise.ts'
import { mutateScript } from './mutations.ts'
import { scenes } from './scenes.ts'
import { bytesOf, type Script } from './script.ts'

export interface Plan {
  readonly frames: number
  readonly seed: number
  /** Default: all. */
  readonly kinds?: readonly Habits[]
  /** Told of how far it is. */
  readonly progress?: (frames: number) => void
  /** Told of each script that went where none had been, after so many frames. */
  readonly fresh?: (fresh: { script: Script; habits: Habits; features: readonly string[] }, frames: number) => void
}

/** Something that a script did, with the least script that does it. */
export interface Found {
  readonly finding: Finding
  readonly habits: Habits
  readonly script: Script
}

export interface Outcome {
  readonly frames: number
  readonly scripts: number
  /** Combinations of version, packet, state and outcome that were met. */
  readonly features: number
  /** The step that took longest, when its script was run again so often: what is left is not the machine's. */
  readonly slowest: { readonly ms: number; readonly tries: number }
  /** Growth from the second tenth of the way to the last one. */
  readonly heapGrowthBytes: number
  readonly rssGrowthBytes: number
  readonly found: Found | undefined
}

/** Scripts for which one broker lives. */
const lifetime = 2000
/** Scripts that went somewhere new, from which mutation goes on: the newest. */
const mostFresh = 2000
/** Of each; what is larger, mutation makes again. */
const mostFreshBytes = 8192

setFlagsFromString('--expose_gc')
const collect = runInNewContext('gc') as () => void

/** Runs mutated scripts against brokers of all habits in turn, until `frames` packets were read or one has broken something. */
export async function campaign({ frames: wanted, seed, kinds = habits, progress, fresh }: Plan): Promise<Outcome> {
  const random = new SeededRandom(seed)
  const real = scenes()
  const pool = [...real]
  const met = new Set<string>()
  let frames = 0
  let scripts = 0
  const memory = new Course()
  const slowest = { ms: 0, tries: 0 }
  let found: Found | undefined
  const { stackTraceLimit } = Error
  // A stack for each refusal would take half the time.
  Error.stackTraceLimit = 0
  while (frames < wanted && !found) {
    const kind = kinds[Math.floor(scripts / lifetime) % kinds.length]!
    const cores = await Cores.start(kind)
    for (let i = 0; i < lifetime && frames < wanted && !found; i++, scripts++) {
      const script = mutateScript(random, pool)
      try {
        const trace = await cores.run(script)
        frames += trace.frames
        if (trace.slowestMs > suspectMs && trace.slowestMs > slowest.ms) {
          const bestMs = await best(script, kind)
          if (bestMs > slowest.ms) Object.assign(slowest, { ms: bestMs, tries })
        }
        const features = trace.features.filter((feature) => !met.has(feature))
        if (features.length === 0) continue
        for (const feature of features) met.add(feature)
        fresh?.({ script, habits: kind, features }, frames)
        if (bytesOf(script) > mostFreshBytes) continue
        if (pool.length < real.length + mostFresh) pool.push(script)
        else pool[real.length + (scripts % mostFresh)] = script
      } catch (fault) {
        found = await least(script, kind, fault)
      }
    }
    memory.add(frames / wanted)
    progress?.(frames)
  }
  Error.stackTraceLimit = stackTraceLimit
  return { frames, scripts, features: met.size, slowest, ...memory.growth, found }
}

/** A step that takes longer is looked at again. */
const suspectMs = 2
const tries = 5

/** What the slowest step of a script takes at its best. */
async function best(script: Script, kind: Habits): Promise<number> {
  let least = Infinity
  for (let i = 0; i < tries; i++) least = Math.min(least, (await (await Cores.start(kind)).run(script)).slowestMs)
  return least
}

/** Runs a script on a broker of its own. @throws what it breaks */
export async function replay(script: Script, kind: Habits): Promise<void> {
  await (await Cores.start(kind)).run(script)
}

async function least(script: Script, kind: Habits, fault: unknown): Promise<Found> {
  const first = findingOf(fault)
  const again = async (smaller: Script): Promise<Finding | undefined> => {
    try {
      await replay(smaller, kind)
      return undefined
    } catch (other) {
      return findingOf(other)
    }
  }
  if ((await again(script))?.kind !== first.kind)
    return {
      finding: new Finding(first.kind, `${first.message} (alone it passes)`, { cause: fault }),
      habits: kind,
      script,
    }
  const small = await minimise(script, async (smaller) => (await again(smaller))?.kind === first.kind)
  Error.stackTraceLimit = 20
  return { finding: (await again(small)) ?? first, habits: kind, script: small }
}

function findingOf(fault: unknown): Finding {
  return fault instanceof Finding ? fault : new Finding('thrown', String(fault), { cause: fault })
}

/**
 * What the process holds behind a collection, again and again. The engine keeps some MiB of free pages, at one time more and at another
 * fewer, so that two looks at it tell nothing: a tenth of the way stands for the median of its looks.
 */
class Course {
  readonly #tenths: { heapBytes: number[]; rssBytes: number[] }[] = []

  /** @param way from 0 to 1 */
  add(way: number): void {
    collect()
    const tenth = (this.#tenths[Math.min(9, Math.floor(way * 10))] ??= { heapBytes: [], rssBytes: [] })
    tenth.heapBytes.push(process.memoryUsage().heapUsed)
    tenth.rssBytes.push(process.memoryUsage.rss())
  }

  get growth(): { heapGrowthBytes: number; rssGrowthBytes: number } {
    const looked = this.#tenths.filter((tenth) => tenth !== undefined)
    const [from, to] = [looked[1] ?? looked[0]!, looked.at(-1)!]
    return {
      heapGrowthBytes: median(to.heapBytes) - median(from.heapBytes),
      rssGrowthBytes: median(to.rssBytes) - median(from.rssBytes),
    }
  }
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!
}
