import { Denied, type Hooks } from '../../src/access/hooks.ts'
import type { Dice } from './dice.ts'

/** The clock of whoever asks. */
export interface HookTime {
  after(delayMs: number, run: () => void): void
}

/** A promise that is settled by the world's clock, not by the engine's queue of microtasks. */
function after<T>(time: HookTime, delayMs: number, answer: () => T): Promise<T> {
  const promise = new Promise<T>(() => {})
  const then = (resolved: (value: T) => void, rejected: (fault: unknown) => void) => {
    time.after(delayMs, () => {
      let value: T
      try {
        value = answer()
      } catch (fault) {
        return rejected(fault)
      }
      resolved(value)
    })
  }
  return Object.assign(promise, { then })
}

/** Hooks that forbid what stands under `deny/`; they answer at once, or by a database in the distance. */
export function decidingHooks(time: HookTime, dice: Dice, slowMs: number): Hooks {
  const say = (allowed: boolean): boolean | Promise<boolean> => {
    const answer = () => {
      if (!allowed && dice.chance(0.5)) throw new Denied()
      return allowed
    }
    if (slowMs === 0 || dice.chance(0.3)) return answer()
    return after(time, dice.between(0, slowMs), answer)
  }
  return {
    authenticate: () => say(true),
    authorizePublish: (_client, { topic }) => say(!topic.startsWith('deny/')),
    authorizeSubscribe: () => say(true),
  }
}

/** Hooks that allow everything, after a while. */
export function slowHooks(time: HookTime, delayMs: number): Hooks {
  return { authorizePublish: () => after(time, delayMs, () => true) }
}
