import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

// The classes of abuse are 29 rows (docs/security.md), and none of them may be left out: each has a test that names it, here or in the
// folder of what it is about.

const folder = new URL('../', import.meta.url)
const numbered = /\b(?:test|describe)\(\s*[`'"]abuse (\d+): /g

test('each row has its test', () => {
  const found = new Set(
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts'))
      .flatMap((name) => [...readFileSync(new URL(name, folder), 'utf8').matchAll(numbered)])
      .map(([, row]) => Number(row)),
  )
  const missing = Array.from({ length: 29 }, (_, at) => at + 1).filter((row) => !found.has(row))
  expect(missing).toEqual([])
})
