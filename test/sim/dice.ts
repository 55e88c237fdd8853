import { SeededRandom } from '../support/random.ts'

/** Chance for a world. Each part of it has dice of its own, so that one more throw here changes nothing there. */
export class Dice extends SeededRandom {
  readonly #seed: number

  constructor(seed: number) {
    super(seed)
    this.#seed = seed
  }

  /** Dice for another part of the same world. */
  fork(part: number): Dice {
    return new Dice(Math.imul(this.#seed + 1, 0x9e3779b1) ^ Math.imul(part + 1, 0x85ebca6b))
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.below(0x4000_0000) < probability * 0x4000_0000
  }

  /** A number in [low, high), in steps of a thousandth of the way. */
  between(low: number, high: number): number {
    return low + ((high - low) * this.below(1000)) / 1000
  }

  /** One of `choices`, as likely as its weight says. */
  weighted<T>(choices: readonly (readonly [weight: number, choice: T])[]): T {
    let at = this.below(choices.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, choice] of choices) if ((at -= weight) < 0) return choice
    throw new Error('no choice has a weight')
  }
}
