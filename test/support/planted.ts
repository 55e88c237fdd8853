import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect, onTestFinished } from 'vitest'

/** A bug that we plant: what it is, and the one place in a file of `src` that it changes. */
export type Mutant = readonly [what: string, file: string, line: string, instead: string]

const copied = ['src', ...['access', 'broker', 'fuzz', 'routing', 'support'].map((name) => `test/${name}`)]

/** Imports a module of `test` over a copy of the sources with one place changed; all of it is gone when the test ends. */
export async function planted<T>(module: string, [, file, line, instead]: Mutant): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-mutant-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const part of copied) cpSync(part, join(folder, part), { recursive: true })
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
  const path = join(folder, 'src', file)
  const parts = readFileSync(path, 'utf8').split(line)
  expect(parts.length, `"${line}" stands once in ${file}`).toBe(2)
  writeFileSync(path, parts.join(instead))
  return (await import(join(folder, 'test', module))) as T
}
