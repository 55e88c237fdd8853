import { readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Attempt, type Attempts, Lanes } from './attempt.ts'
import { noStrace } from './machine.ts'
import type { TracedBroker } from './traced.ts'

// EIO from each sync and each write: nothing is promised any more, nothing is tried again, the process ends with 1, and
// the next one finds everything that was acknowledged.

const logChange = /^(pwrite64|writev|pwritev|fdatasync|fsync|ftruncate)\(\d+<.*\.seg>/
const indexSync = /^(fdatasync|fsync)\(\d+<.*\.mdb>/

describe.skipIf(noStrace)('EIO from each', () => {
  const lanes = new Lanes()
  beforeAll(() => lanes.prepare())
  afterAll(() => lanes.close())

  for (const [call, where, least] of [
    ['fdatasync', 'anywhere', 24],
    ['fsync', 'anywhere', 3],
    ['pwrite64', 'anywhere', 24],
    ['writev', 'index', 1],
  ] as const)
    test(`${call} (${where})`, async () => {
      const count = await lanes.each(async (attempts, count) => {
        const fault = { call, effect: 'error=EIO', when: String(count), ...attempts.paths(where) }
        const attempt = await attempts.run(fault, (broker) => {
          if (call === 'fdatasync') loseUnsynced(attempts, broker)
        })
        const at = `${call} ${count}, after ${attempt.acknowledged} acknowledgements: ${attempt.since[0]}`
        expect.soft(attempt.findings, at).toEqual([])
        expect.soft(attempt.restart, at).toBe('')
        if (attempt.since.length > 0) expectEnd(attempt, at)
        else expect([attempt.code, attempt.err, attempt.told], at).toEqual([0, '', true])
        return attempt.since.length > 0
      })
      expect(count).toBeGreaterThanOrEqual(least)
    }, 180_000)
})

/** What a failed sync has not made durable may be lost, whatever is in the file now: it is taken out. */
function loseUnsynced(attempts: Attempts, broker: TracedBroker): void {
  const synced = broker.synced()
  const log = join(attempts.data, 'log')
  for (const name of readdirSync(log)) truncateSync(join(log, name), synced.get(name) ?? 0)
}

function expectEnd({ code, err, told, since }: Attempt, at: string): void {
  // At the end of the script a signal is on its way, and may find a broker that has just let go of everything.
  if (!told || code !== 'SIGTERM') {
    expect.soft(code, at).toBe(1)
    const last = err.trimEnd().split('\n').at(-1)
    expect.soft(last, at).toMatch(/^error: (the disk has failed|not everything could be kept): /)
  }
  // The log goes on without its index: what it promised it keeps.
  const again = since[0]!.includes('.mdb') ? indexSync : logChange
  const tried = since.slice(1).filter((line) => again.test(line))
  expect.soft(tried, at).toEqual([])
}
