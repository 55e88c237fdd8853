import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { Digests } from '../host.ts'

/** Node's. */
export const digests: Digests = {
  sha256: (data) => createHash('sha256').update(data).digest(),
  hmacSha256: (key, data) => createHmac('sha256', key).update(data).digest(),
  same: (a, b) => a.length === b.length && timingSafeEqual(a, b),
}
