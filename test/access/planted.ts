import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'

/** A bug that we plant: what it is, and the one place in a file of `src/access` that it changes. */
export type Mutant = readonly [what: string, file: string, line: string, instead: string]

/** Imports a module of this folder over a copy of the sources with one place changed; all of it is gone when the test ends. */
export async function planted<T>(module: string, [, file, line, instead]: Mutant): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-mutant-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const part of ['src/access', 'src/mqtt', 'src/host.ts', 'test/access', 'test/support'])
    cpSync(part, join(folder, part), { recursive: true })
  const path = join(folder, 'src/access', file)
  const parts = readFileSync(path, 'utf8').split(line)
  expect(parts.length, `"${line}" stands once in ${file}`).toBe(2)
  writeFileSync(path, parts.join(instead))
  return (await import(join(folder, 'test/access', module))) as T
}
