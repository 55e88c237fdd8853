import { Cores } from './cores.ts'
import type { Habits } from './habits.ts'
import { minimise } from './minimise.ts'
import { bytesOf, type Script } from './script.ts'

/** What is met sooner than this, each run meets by itself. */
const easyFrames = 100_000
const mostTries = 300
const mostBytes = 1000

interface Fresh {
  readonly script: Script
  readonly habits: Habits
  /** Where it went, and none before it. */
  readonly features: readonly string[]
}

/** What a corpus grows by: of the scripts that went where none had been, those that are hard to come by, as small as they can be. */
export class Growth {
  readonly #rare: Fresh[] = []

  add(fresh: Fresh, frames: number): void {
    if (frames >= easyFrames) this.#rare.push(fresh)
  }

  /** The least scripts that go to all those places. */
  async scripts(): Promise<Script[]> {
    const met = new Set<string>()
    const kept: Script[] = []
    for (const { script, habits, features } of this.#rare) {
      const wanted = features.filter((feature) => !met.has(feature))
      if (wanted.length === 0) continue
      const goesThere = async (smaller: Script): Promise<boolean> => {
        const reached = new Set(await featuresOf(smaller, habits))
        return wanted.every((feature) => reached.has(feature))
      }
      // What depends on those who came before it is nobody's to keep.
      if (!(await goesThere(script))) continue
      const small = await minimise(script, goesThere, mostTries)
      if (bytesOf(small) > mostBytes) continue
      for (const feature of await featuresOf(small, habits)) met.add(feature)
      kept.push(small)
    }
    return kept
  }
}

async function featuresOf(script: Script, habits: Habits): Promise<readonly string[]> {
  return (await (await Cores.start(habits)).run(script)).features
}
