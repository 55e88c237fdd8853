import { readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { AuditFile } from '../../src/platform/audit-file.ts'
import { temporaryFolder } from '../support/broker.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const read = (path: string): string => readFileSync(path, 'utf8')

test('lines in their order, for the owner alone, behind those of before', async () => {
  const path = join(temporaryFolder(), 'audit')
  for (const part of ['a', 'b']) {
    const file = new AuditFile(path, log)
    for (let at = 0; at < 1000; at++) expect(file.write(`${part} ${at}\n`)).toBe(true)
    await file.close()
    expect(file.write('too late\n')).toBe(false)
  }
  expect(read(path).split('\n').length).toBe(2001)
  expect(read(path).startsWith('a 0\na 1\n')).toBe(true)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('somebody moves the file away', async () => {
  const path = join(temporaryFolder(), 'audit')
  const file = new AuditFile(path, log)
  file.write('old 1\n')
  renameSync(path, `${path}.1`)
  file.reopen()
  file.reopen()
  file.write('new 1\n')
  await file.close()
  expect(read(`${path}.1`)).toBe('old 1\n')
  expect(read(path)).toBe('new 1\n')
})

test('there is room for so much, and no more', async () => {
  const path = join(temporaryFolder(), 'audit')
  const file = new AuditFile(path, log)
  const line = `${'x'.repeat(1023)}\n`
  let taken = 0
  while (file.write(line)) taken++
  expect(taken).toBe(4096)
  await file.close()
  expect(statSync(path).size).toBe(4096 * 1024)
})

test('a disk that takes nothing: it is said once, and nothing that was taken is forgotten', async () => {
  const told: unknown[] = []
  const file = new AuditFile('/dev/full', { ...log, error: (fields) => told.push(fields) })
  file.write('a\n')
  await expect.poll(() => told.length).toBe(1)
  file.write('b\n')
  await file.close()
  expect(told).toMatchObject([{ file: '/dev/full' }])
})
