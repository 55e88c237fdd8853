import { isDeepStrictEqual } from 'node:util'
import type { DiskFault, Index } from '../../src/host.ts'
import type { Dice } from './dice.ts'

type Change = readonly [key: string, value: Uint8Array | undefined]

/** An index in memory, with commits that take as long as `later` does, that may fail, and that a crash may cut short. */
export class MemoryIndex implements Index {
  readonly #later: (run: () => void) => void
  readonly #entries: Map<string, Uint8Array>
  #underWay: readonly Change[] | undefined
  #closed = false
  #fault: { commits: number; code: string } | undefined

  /** @param later calls what it is given once, later: never before it returns */
  constructor(later: (run: () => void) => void, entries: Iterable<readonly [string, Uint8Array]> = []) {
    this.#later = later
    this.#entries = new Map(Array.from(entries, copyOf))
  }

  /** The `nth` commit from now (1: the next) fails with `code`, and changes nothing. */
  failCommit(nth: number, code: string): void {
    this.#fault = { commits: nth, code }
  }

  *entries(): Generator<readonly [key: string, value: Uint8Array]> {
    yield* Array.from(this.#entries, copyOf).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  }

  commit(changes: readonly Change[], done: (fault: DiskFault | undefined) => void): void {
    if (this.#underWay || this.#closed) throw new Error('one commit at a time, of an index that is open')
    for (const [key] of changes) if (key === '' || Buffer.byteLength(key) > 1978) throw new RangeError(`key "${key}"`)
    const asGiven = changes.map(copyOf)
    this.#underWay = asGiven
    this.#later(() => {
      // Another index went on from here: this one's process is gone.
      if (this.#underWay !== asGiven) return
      this.#underWay = undefined
      // The real one reads the values whenever it likes until then.
      if (!isDeepStrictEqual(asGiven, changes.map(copyOf))) throw new Error('a value changed while it was committed')
      const fault = this.#nextFault()
      if (!fault) apply(this.#entries, asGiven)
      done(fault)
    })
  }

  close(): Promise<void> {
    this.#closed = true
    return Promise.resolve()
  }

  /** What a power cut, or a kill, leaves: all that was done, and what was under way whole or not at all. */
  crash(dice: Dice, later: (run: () => void) => void = this.#later): MemoryIndex {
    const left = new MemoryIndex(later, this.#entries)
    if (this.#underWay && dice.chance(0.5)) apply(left.#entries, this.#underWay)
    this.#underWay = undefined
    this.#closed = true
    return left
  }

  #nextFault(): DiskFault | undefined {
    if (!this.#fault || --this.#fault.commits > 0) return undefined
    const { code } = this.#fault
    this.#fault = undefined
    return Object.assign(new Error(`planted: ${code}`), { code })
  }
}

function apply(entries: Map<string, Uint8Array>, changes: readonly Change[]): void {
  for (const [key, value] of changes) {
    if (value) entries.set(key, value)
    else entries.delete(key)
  }
}

/** With bytes of its own, and never a Buffer, which is not equal to an array of the same bytes. */
function copyOf<V extends Uint8Array | undefined>([key, value]: readonly [string, V]): [string, V] {
  return [key, (value && Uint8Array.from(value)) as V]
}
