import { readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Attempt, Attempts } from './attempt.ts'
import { noStrace } from './machine.ts'
import type { TracedBroker } from './traced.ts'

// EIO from each sync and each write: nothing is promised any more, nothing is tried again, the process ends with 1, and
// the next one finds everything that was acknowledged.

const anyChange = /^(pwrite64|writev|pwritev|fdatasync|fsync|ftruncate)\(\d+<.*\.seg>/
const anySync = /^(fdatasync|fsync)\(\d+<.*\.mdb>/

describe.skipIf(noStrace)('EIO from each', () => {
  const attempts = new Attempts()
  beforeAll(() => attempts.prepare())
  afterAll(() => attempts.close())

  /** What a failed sync has not made durable may be lost, whatever is in the file now: it is taken out. */
  function loseUnsynced(broker: TracedBroker): void {
    const synced = broker.synced()
    const log = join(attempts.data, 'log')
    for (const name of readdirSync(log)) truncateSync(join(log, name), synced.get(name) ?? 0)
  }

  function expectEnd({ code, err, since, restart, findings }: Attempt, where: string): void {
    expect.soft(findings, where).toEqual([])
    expect.soft(restart, where).toBe('')
    expect.soft(code, where).toBe(1)
    expect
      .soft(err.trimEnd().split('\n').at(-1), where)
      .toMatch(/^error: (the disk has failed|not everything could be kept): /)
    // The log goes on without its index: what it promised it keeps.
    const again = since[0]!.includes('.mdb') ? anySync : anyChange
    expect
      .soft(
        since.slice(1).filter((line) => again.test(line)),
        where,
      )
      .toEqual([])
  }

  for (const [call, least, paths, between] of [
    ['fdatasync', 30, undefined, loseUnsynced],
    ['fsync', 3, undefined, undefined],
    ['pwrite64', 30, undefined, undefined],
    ['writev', 1, [attempts.index], undefined],
  ] as const)
    test(`${call}${paths ? ' of the index' : ''}`, async () => {
      for (let count = 1; ; count++) {
        const fault = { call, effect: 'error=EIO', when: String(count), ...(paths && { paths }) }
        const attempt = await attempts.run(fault, between)
        const { code, err, told, acknowledged, since } = attempt
        if (since.length > 0) {
          expectEnd(attempt, `${call} ${count}, after ${acknowledged} acknowledgements: ${since[0]}`)
          continue
        }
        expect(attempt.findings).toEqual([])
        expect([code, err, told]).toEqual([0, '', true])
        expect(count - 1).toBeGreaterThanOrEqual(least)
        return
      }
    }, 180_000)
})
