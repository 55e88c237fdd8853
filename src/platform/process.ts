import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes of heap in use. */
export function heapBytes(): number {
  return process.memoryUsage().heapUsed
}

/** Gives back what a start has left behind, which V8 would keep until there is load. Blocks: 0.1 s for 100,000 sessions. */
export function collectGarbage(): void {
  garbageCollector()()
}

/** What collects garbage, at once. */
export function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  setFlagsFromString('--no-expose-gc')
  return () => collect()
}
