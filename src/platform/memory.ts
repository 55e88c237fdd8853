import { openSync, readSync } from 'node:fs'
import { totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'
import type { MemoryGauge } from '../host.ts'
import { garbageCollector } from './process.ts'

/** Linux counts in pages of this size on every machine that Node runs on, but for some of ARM, where it tells too little. */
const pageBytes = 4096

/**
 * What this process holds. Pages of files that are mapped, such as the store's index, are not counted: the system takes
 * them back when it needs them.
 */
export function nodeMemory(): MemoryGauge {
  const residentBytes = residentReader()
  const began = getHeapStatistics()
  // The program itself, and what libraries of it hold: what is there before anybody has come.
  const baseBytes = residentBytes() - began.total_heap_size - began.external_memory
  return {
    read() {
      const { total_heap_size, external_memory, used_heap_size, heap_size_limit } = getHeapStatistics()
      return {
        residentBytes: residentBytes(),
        usefulBytes: baseBytes + total_heap_size + external_memory,
        heapShare: used_heap_size / heap_size_limit,
      }
    },
    collect: garbageCollector(),
  }
}

/** Opens its file once: whoever opens it for each look fails when clients have taken the last descriptor. */
function residentReader(): () => number {
  if (process.platform !== 'linux') return () => process.memoryUsage.rss()
  const file = openSync('/proc/self/statm', 'r')
  const text = Buffer.alloc(128)
  return () => {
    const [, resident, shared] = text.toString('latin1', 0, readSync(file, text, 0, text.length, 0)).split(' ')
    return (Number(resident) - Number(shared)) * pageBytes
  }
}

/** What the machine has, or the control group (version 1 or 2) that the process is in allows it. */
export function memoryThere(): { readonly bytes: number; readonly ours: boolean } {
  const machine = totalmem()
  const group = process.constrainedMemory()
  return group > 0 && group < machine ? { bytes: group, ours: true } : { bytes: machine, ours: false }
}
