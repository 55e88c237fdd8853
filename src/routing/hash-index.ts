/** Slots of a segment, as long as hashes tell its entries apart. */
const perSegment = 1024
/** Bits of a hash that choose a segment; those above them choose the slot. */
const deepest = 16
/** Depth of a segment, and its entries; behind that the slots: hash · number, 0: empty. */
const header = 2
const depthField = 0
const countField = 1

/**
 * Hash → numbers of records, which the caller compares: `for (let id = index.first(hash); id !== 0; id = index.next()) if (…) return id`
 *
 *   directory   by the lowest bits of the hash   ─▶   segment: up to 768 entries, hash beside number, in 8 KiB
 *   [ 0 1 2 3 ]   0 ─▶ A   1, 3 ─▶ B   2 ─▶ C         a full one becomes two, by one bit more; two that are nearly empty become one
 *
 * Extendible hashing (R. Fagin et al., ACM TODS 4(3), 1979), and linear probing within a segment. No call moves more than a segment,
 * or doubles the directory (of 65,536 at most), so the millionth entry stalls no more than the first. What is not there is found not
 * to be there in one cache line, as a rule, and no record is touched but the one that is wanted.
 */
export class HashIndex {
  /** As long as two to the power of its depth. */
  #directory: Int32Array[] = [segmentOf(perSegment, 0)]
  #depth = 0
  /** Segments that are as deep as the directory. */
  #atDepth = 1
  #size = 0
  // Where `first` and `next` have come to.
  #slots = this.#directory[0]!
  #at = 0
  #hash = 0

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    let bytes = this.#directory.length * 8
    for (const segment of new Set(this.#directory)) bytes += segment.byteLength
    return bytes
  }

  /** The number that was inserted with this hash, or one of them; 0 when there is none. */
  first(hash: number): number {
    const slots = this.#segment(hash)
    const end = slots.length
    for (let at = slotOf(slots, hash); slots[at + 1] !== 0; at = at + 2 === end ? header : at + 2) {
      if (slots[at] !== hash) continue
      this.#slots = slots
      this.#at = at
      this.#hash = hash
      return slots[at + 1]!
    }
    return 0
  }

  /** Another number with the same hash as the last one. */
  next(): number {
    const slots = this.#slots
    const end = slots.length
    let at = this.#at
    do at = at + 2 === end ? header : at + 2
    while (slots[at + 1] !== 0 && slots[at] !== this.#hash)
    this.#at = at
    return slots[at + 1]!
  }

  /** @param id not 0 */
  insert(hash: number, id: number): void {
    let slots = this.#segment(hash)
    for (; isFull(slots); slots = this.#segment(hash)) this.#relieve(slots, hash)
    put(slots, hash, id)
    this.#size++
  }

  /** Removes what was inserted so. */
  remove(hash: number, id: number): void {
    const slots = this.#segment(hash)
    let at = slotOf(slots, hash)
    while (slots[at + 1] !== id) at = at + 2 === slots.length ? header : at + 2
    close(slots, at)
    this.#size--
    if (slots[countField]! * 8 < slotsOf(slots)) this.#shrink(slots, hash)
  }

  #segment(hash: number): Int32Array {
    return this.#directory[hash & (this.#directory.length - 1)]!
  }

  /** Makes two of a full segment; or, where no bit is left to tell its entries apart by, one that is larger. */
  #relieve(slots: Int32Array, hash: number): void {
    const depth = slots[depthField]!
    if (depth === deepest) return this.#replace(hash, depth, moved(slots, segmentOf(slotsOf(slots) * 2, depth)))
    if (depth === this.#depth) {
      this.#directory = this.#directory.concat(this.#directory)
      this.#depth++
      this.#atDepth = 0
    }
    const bit = 1 << depth
    const upper = segmentOf(perSegment, depth + 1)
    slots[depthField] = depth + 1
    for (let at = header; at < slots.length;)
      if (slots[at + 1] === 0 || (slots[at]! & bit) === 0) at += 2
      else {
        put(upper, slots[at]!, slots[at + 1]!)
        close(slots, at)
      }
    this.#replace(hash | bit, depth + 1, upper)
    if (depth + 1 === this.#depth) this.#atDepth += 2
  }

  /** Puts a segment that is nearly empty together with the one that it was split from, or makes it smaller. */
  #shrink(slots: Int32Array, hash: number): void {
    const depth = slots[depthField]!
    if (slotsOf(slots) > perSegment)
      return this.#replace(hash, depth, moved(slots, segmentOf(slotsOf(slots) / 2, depth)))
    if (depth === 0) return
    const other = this.#segment(hash ^ (1 << (depth - 1)))
    if (other[depthField] !== depth || other[countField]! * 8 >= perSegment) return
    slots[depthField] = depth - 1
    this.#replace(hash, depth - 1, moved(other, slots))
    if (depth < this.#depth) return
    this.#atDepth -= 2
    while (this.#atDepth === 0 && this.#depth > 0) this.#halve()
  }

  #halve(): void {
    this.#depth--
    this.#directory = this.#directory.slice(0, 1 << this.#depth)
    for (const slots of this.#directory) if (slots[depthField] === this.#depth) this.#atDepth++
  }

  /** All places of the directory whose lowest `depth` bits are those of the hash. */
  #replace(hash: number, depth: number, slots: Int32Array): void {
    const step = 1 << depth
    for (let at = hash & (step - 1); at < this.#directory.length; at += step) this.#directory[at] = slots
  }
}

function segmentOf(slots: number, depth: number): Int32Array {
  const segment = new Int32Array(header + slots * 2)
  segment[depthField] = depth
  return segment
}

function slotsOf(segment: Int32Array): number {
  return (segment.length - header) >>> 1
}

/** Three quarters. */
function isFull(segment: Int32Array): boolean {
  return segment[countField]! * 8 >= (segment.length - header) * 3
}

/** Where a hash would like to be. */
function slotOf(segment: Int32Array, hash: number): number {
  return header + (((hash >>> deepest) & (slotsOf(segment) - 1)) << 1)
}

function put(segment: Int32Array, hash: number, id: number): void {
  let at = slotOf(segment, hash)
  while (segment[at + 1] !== 0) at = at + 2 === segment.length ? header : at + 2
  segment[at] = hash
  segment[at + 1] = id
  segment[countField]!++
}

/** Empties a slot, and moves up what stands behind it only because it was taken. */
function close(segment: Int32Array, hole: number): void {
  const end = segment.length
  const length = end - header
  for (let at = hole + 2 === end ? header : hole + 2; segment[at + 1] !== 0; at = at + 2 === end ? header : at + 2) {
    const fromHome = (at - slotOf(segment, segment[at]!) + length) % length
    if (fromHome < (at - hole + length) % length) continue
    segment[hole] = segment[at]!
    segment[hole + 1] = segment[at + 1]!
    hole = at
  }
  segment[hole + 1] = 0
  segment[countField]!--
}

/** Puts the entries of one segment into another. */
function moved(from: Int32Array, to: Int32Array): Int32Array {
  for (let at = header; at < from.length; at += 2) if (from[at + 1] !== 0) put(to, from[at]!, from[at + 1]!)
  return to
}

/** A hash of two numbers and a secret (the finish of Murmur3, Austin Appleby, public domain). */
export function pairHash(secret: number, a: number, b: number): number {
  let hash = Math.imul(a ^ secret, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 15) ^ b, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
