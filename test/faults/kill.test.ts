import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Lanes } from './attempt.ts'
import { noStrace } from './machine.ts'

// SIGKILL at every system call that changes the disk: at its entry, so that it has not happened.

describe.skipIf(noStrace)('SIGKILL', () => {
  const lanes = new Lanes()
  const effect = 'signal=SIGKILL'
  beforeAll(() => lanes.prepare())
  afterAll(() => lanes.close())

  describe('while a new folder is made, at each', () => {
    for (const [call, least] of [
      ['mkdir', 3],
      ['pwrite64', 1],
      ['ftruncate', 1],
      ['fsync', 6],
      ['rename', 3],
    ] as const)
      test(
        call,
        async () => {
          const count = await lanes.each(async (attempts, count) => {
            const code = await attempts.create({ call, effect, when: String(count) })
            expect.soft(await attempts.restart(), `${call} ${count}`).toBe('')
            return code === 'SIGKILL'
          })
          expect(count).toBeGreaterThanOrEqual(least)
        },
        60_000,
      )
  })

  describe('while it serves, at each', () => {
    for (const [call, where, least] of [
      ['pwrite64', 'anywhere', 24],
      ['writev', 'index', 1],
      ['fdatasync', 'anywhere', 24],
      ['fsync', 'anywhere', 3],
      ['openat', 'segments', 2],
      ['rename', 'anywhere', 1],
      ['unlink', 'anywhere', 1],
    ] as const)
      test(`${call} (${where})`, async () => {
        const count = await lanes.each(async (attempts, count) => {
          const fault = { call, effect, when: String(count), ...attempts.paths(where) }
          const { code, err, told, acknowledged, restart, findings } = await attempts.run(fault)
          const at = `${call} ${count}, after ${acknowledged} acknowledgements`
          expect.soft(findings, at).toEqual([])
          expect.soft(restart, at).toBe('')
          if (code === 'SIGKILL') return true
          expect([code, err, told], at).toEqual([0, '', true])
          return false
        })
        expect(count).toBeGreaterThanOrEqual(least)
      }, 180_000)
  })
})
