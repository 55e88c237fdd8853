import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { version } from '../src/version.ts'

// The house holds what docs/architecture.md draws.

test('a room imports only from floors below its own, and only the platform and the command line touch Node', async () => {
  const cruiser = join('node_modules', 'dependency-cruiser', 'bin', 'dependency-cruise.mjs')
  const cruise = promisify(execFile)(process.execPath, [cruiser, '--config', '.dependency-cruiser.cjs', 'src'])
  const { stdout } = await cruise.catch((fault: { stdout: string }) => {
    throw new Error(fault.stdout)
  })
  expect(stdout).toMatch(/no dependency violations found \(\d\d+ modules/)
})

const outside = /^src[/\\](platform|cli)[/\\]|^src[/\\]main\.ts$/
const worldly =
  /\b(setTimeout|setInterval|setImmediate|queueMicrotask|process\.(?!ts)\w+|performance\.\w+|Date\.now|new Date|Math\.random|crypto\.\w+)\b/

test('no room but the platform, the command line and main reaches for a clock, a timer, randomness or the process', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join('src', name))
  expect(files.length).toBeGreaterThan(40)
  const found = files
    .filter((file) => !outside.test(file))
    .flatMap((file) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => !/^\s*(\/\/|\*|\/\*)/.test(line) && worldly.test(line))
        .map((line) => `${file}: ${line.trim()}`),
    )
  expect(found).toEqual([])
})

test('the version that we tell is that of the package', () => {
  expect((JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version).toBe(version)
})
