import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes of heap in use. */
export function heapBytes(): number {
  // `process.memoryUsage()` opens a file, and so throws when there are no descriptors left.
  return getHeapStatistics().used_heap_size
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

/** Descriptors that clients leave to the store, a reload, links and the log. */
const reserve = 512

/** Sockets that clients may have at a time: what the system lets us open, less a reserve. */
export function mostSockets(): number {
  // Else it would look up the names of all peers.
  Object.assign(process.report, { excludeNetwork: true })
  const { userLimits } = process.report.getReport() as unknown as {
    userLimits?: { open_files: { soft: number | 'unlimited' } }
  }
  const most = userLimits?.open_files.soft
  return typeof most === 'number' ? most - Math.min(reserve, Math.floor(most / 2)) : Infinity
}
