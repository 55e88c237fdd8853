/** Bytes of heap in use. */
export function heapBytes(): number {
  return process.memoryUsage().heapUsed
}
