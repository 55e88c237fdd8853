import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Attempts } from './attempt.ts'
import { noStrace } from './machine.ts'

// SIGKILL at every system call that changes the disk: at its entry, so that it has not happened.

describe.skipIf(noStrace)('SIGKILL', () => {
  const attempts = new Attempts()
  const kill = 'signal=SIGKILL'
  beforeAll(() => attempts.prepare())
  afterAll(() => attempts.close())

  describe('while a new folder is made, at each', () => {
    for (const [call, least] of [
      ['mkdir', 4],
      ['pwrite64', 1],
      ['ftruncate', 1],
      ['fsync', 6],
      ['rename', 3],
    ] as const)
      test(
        call,
        async () => {
          let count = 0
          while ((await attempts.create({ call, effect: kill, when: String(count + 1) })) === 'SIGKILL') {
            count++
            expect.soft(await attempts.restart(), `${call} ${count}`).toBe('')
          }
          expect(count).toBeGreaterThanOrEqual(least)
        },
        60_000,
      )
  })

  describe('while it serves, at each', () => {
    const index = [attempts.index]
    const segments = [1, 2, 3, 4].map((number) => attempts.segment(number))
    for (const [call, least, paths] of [
      ['pwrite64', 30, undefined],
      ['writev', 1, index],
      ['fdatasync', 30, undefined],
      ['fsync', 3, undefined],
      ['openat', 2, segments],
      ['rename', 1, undefined],
      ['unlink', 1, undefined],
    ] as const)
      test(`${call}${paths === index ? ' of the index' : ''}`, async () => {
        for (let count = 1; ; count++) {
          const attempt = await attempts.run({ call, effect: kill, when: String(count), ...(paths && { paths }) })
          const { code, err, told, acknowledged, restart, findings } = attempt
          const where = `${call} ${count}, after ${acknowledged} acknowledgements`
          expect.soft(findings, where).toEqual([])
          expect.soft(restart, where).toBe('')
          if (code === 'SIGKILL') continue
          expect([code, err, told]).toEqual([0, '', true])
          expect(count - 1).toBeGreaterThanOrEqual(least)
          return
        }
      }, 180_000)
  })
})
