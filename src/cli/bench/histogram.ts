// Buckets by octave: below 128 a bucket is one unit wide, above it each doubling is cut into 64 equal buckets,
// so a quantile is never more than 1/64 too high, and never too low.
//
//   value   0 … 127 | 128 130 132 … 254 | 256 260 … 508 | …
//   bucket  0 … 127 | 128 … 191         | 192 … 255     | …
const perOctave = 64
const exact = 2 * perOctave

export class Histogram {
  readonly #counts = new Float64Array(exact + 25 * perOctave)
  #total = 0
  #max = 0
  #sum = 0

  /** @param value whole or not, in any unit; values outside 0 … 2^32 - 1 count as the nearest end. */
  record(value: number): void {
    const whole = value < 0 ? 0 : value > 0xffff_ffff ? 0xffff_ffff : Math.floor(value)
    const at = bucketOf(whole)
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
    this.#total++
    this.#sum += whole
    if (whole > this.#max) this.#max = whole
  }

  clear(): void {
    this.#counts.fill(0)
    this.#total = this.#max = this.#sum = 0
  }

  get count(): number {
    return this.#total
  }

  get max(): number {
    return this.#max
  }

  get mean(): number {
    return this.#total === 0 ? 0 : this.#sum / this.#total
  }

  /** The value that a share `q` (0 … 1) of the recorded ones does not exceed; 0 when nothing was recorded. */
  quantile(q: number): number {
    const wanted = Math.max(1, Math.ceil(q * this.#total))
    let seen = 0
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      seen += this.#counts[bucket] ?? 0
      if (seen >= wanted) return Math.min(lastOf(bucket), this.#max)
    }
    return this.#max
  }
}

function bucketOf(whole: number): number {
  if (whole < exact) return whole
  const shift = 25 - Math.clz32(whole) // brings the value into 64 … 127
  return exact + (shift - 1) * perOctave + ((whole >>> shift) - perOctave)
}

function lastOf(bucket: number): number {
  if (bucket < exact) return bucket
  const shift = Math.floor((bucket - exact) / perOctave) + 1
  return (((bucket - exact) % perOctave) + perOctave + 1) * 2 ** shift - 1
}
