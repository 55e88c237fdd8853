/** A copy of `bytes[start, end)` that holds nothing else alive (`Buffer.slice` would be a view, and a pooled buffer 8 KiB). */
export function copyBytes(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const own = Buffer.allocUnsafeSlow(end - start)
  own.set(bytes.subarray(start, end))
  return own
}

/** Does `own` equal `bytes[start, end)`? */
export function sameBytes(own: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (own.length !== end - start) return false
  for (let i = 0; i < own.length; i++) if (own[i] !== bytes[start + i]) return false
  return true
}

/** Copies `from[start, end)` to `to` at `at`: by hand while that beats the call into the engine's memory copy. */
export function copyInto(to: Uint8Array, at: number, from: Uint8Array, start: number, end: number): void {
  if (end - start <= 96) while (start < end) to[at++] = from[start++]!
  else to.set(from.subarray(start, end), at)
}

/** How many bytes `value` takes as a variable byte integer. */
export function varintLength(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : 4
}
