import type { Limits } from '../broker/limits.ts'
import { object } from './object.ts'
import { z } from 'zod'

/** Below it there is no room for the program itself and anybody's messages. */
const leastBytes = 128 * 2 ** 20
const bounds = `must be a whole number from ${leastBytes} to ${2 ** 40}`

const memoryShape = {
  limitBytes: z
    .int(bounds)
    .min(leastBytes, bounds)
    .max(2 ** 40, bounds)
    .optional(),
}

export const memorySchema = object(memoryShape, 'a map with limitBytes')
export const memoryKeys = Object.keys(memoryShape)

/** What there is, and whether it is there for us alone: the limit of a control group, not a machine's memory. */
export interface MemoryThere {
  readonly bytes: number
  readonly ours: boolean
}

/** What the broker may hold where nothing is said of it: the kernel's part of a group's limit is left to it. */
export function defaultMemoryLimit({ bytes, ours }: MemoryThere): number {
  return Math.floor(bytes * (ours ? 0.85 : 0.5))
}

/** Limits that follow from that of memory: no kind of message may fill more than a quarter of it. */
export function limitsWithin(limitBytes: number, { retainedBytes }: Limits): Partial<Limits> {
  const quarter = Math.floor(limitBytes / 4)
  return { queueBytesTotal: quarter, retainedBytes: Math.min(retainedBytes, quarter) }
}
