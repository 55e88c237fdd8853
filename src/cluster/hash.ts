/**
 * Hashes texts to 64 bits, as two halves, under a key that the whole cluster has: who chooses the texts cannot choose what
 * they collide with. It keeps no secrets.
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
