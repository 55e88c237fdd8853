/**
 * Hashes texts to 64 bits, as two halves, under a key that the whole cluster has: who chooses the texts cannot choose what
 * they collide with. It keeps no secrets.
 *
 * Why 64 bits are enough. The set hash of a table is the exclusive or of such hashes, so two tables that differ have the same one
 * once in 2^64 comparisons, and are compared only where something went wrong before (a snapshot, a digest): at a million
 * comparisons a second that is once in half a million years. That two of a million keys have one hash does not matter (once in
 * 40 million tables): keys are compared as texts, and the set hash tells sets apart, not keys. Owners go by 53 bits of the hash
 * of their name: of 10,000 nodes two share one in 1 of 180 million clusters.
 */
export class KeyedHash {
  /** The hash of the last text: two integers of 32 bits. */
  low = 0
  high = 0
  readonly #lowSeed: number
  readonly #highSeed: number

  constructor(key: string) {
    this.#lowSeed = 0x2c1b3c6d
    this.#highSeed = 0x297a2d39
    this.over(key)
    this.#lowSeed = this.low
    this.#highSeed = this.high
  }

  over(text: string): void {
    let low = this.#lowSeed ^ text.length
    let high = this.#highSeed
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at)
      low = Math.imul(low ^ code, 0x9e3779b1)
      low ^= low >>> 15
      high = Math.imul((high << 13) ^ (high >>> 19) ^ code, 0x85ebca6b)
    }
    this.low = mix(low ^ (high >>> 3))
    this.high = mix(high + low)
  }

  /** 53 bits of the hash of `text`: a name that fits into a number. */
  number(text: string): number {
    this.over(text)
    return (this.high & 0x1f_ffff) * 0x1_0000_0000 + (this.low >>> 0)
  }
}

/** Every bit of `bits` decides about every bit of the answer, an integer of 32 bits. */
export function mix(bits: number): number {
  bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d)
  bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b)
  return bits ^ (bits >>> 16)
}

/** The upper bits of a number below 2^53, beside `number | 0`. */
export function upper(number: number): number {
  return Math.floor(number / 0x1_0000_0000)
}
