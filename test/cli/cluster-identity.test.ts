import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseToken } from '../../src/platform/join-token.ts'
import { godwit } from './godwit.ts'

let folder: string
let directory: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-cli-cluster-'))
  directory = join(folder, 'my cluster')
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('godwit cluster init', () => {
  test('makes a directory, and says how the first node is started', async () => {
    const { code, out, err } = await godwit(['cluster', 'init', directory])
    expect([code, out]).toEqual([0, ''])
    expect(err).toContain(`godwit start --cluster '${directory}' --node a --cluster-listen 127.0.0.1:7001`)
    expect(readdirSync(directory).length).toBe(3)
  })

  test('--json', async () => {
    const { code, out, err } = await godwit(['cluster', 'init', directory, '--json'])
    expect([code, err]).toEqual([0, ''])
    expect(JSON.parse(out)).toEqual({
      schemaVersion: 1,
      clusterId: expect.stringMatching(/^[0-9a-f]{20}$/) as string,
      directory,
    })
  })

  test('never overwrites: 3', async () => {
    await godwit(['cluster', 'init', directory])
    const { code, out, err } = await godwit(['cluster', 'init', directory])
    expect({ code, out, err }).toEqual({
      code: 3,
      out: '',
      err: `error: ${directory} holds a cluster already: it stays as it is\n`,
    })
    expect((await godwit(['cluster', 'init', folder])).err).toBe(
      `error: ${folder} is not empty: name a new directory\n`,
    )
  })

  test('without a directory: 2', async () => {
    expect((await godwit(['cluster', 'init'])).code).toBe(2)
  })
})

describe('godwit cluster token', () => {
  test('prints a token, and nothing else, where programs read', async () => {
    await godwit(['cluster', 'init', directory])
    const { code, out, err } = await godwit(['cluster', 'token', '--cluster', directory])
    expect(code).toBe(0)
    expect(out).toMatch(/^godwit-join-[\w-]+\n$/)
    expect(err).toMatch(/^good for one node, until [0-9TZ:.-]+\n$/)
    expect(existsSync(join(directory, 'used'))).toBe(false)
  })

  for (const [text, seconds] of [
    ['90s', 90],
    ['10m', 600],
    ['7d', 7 * 86_400],
  ] as const)
    test(`--expires ${text}`, async () => {
      await godwit(['cluster', 'init', directory])
      const { out } = await godwit(['cluster', 'token', '--cluster', directory, '--expires', text, '--json'])
      const { token, expiresAt, schemaVersion } = JSON.parse(out) as {
        token: string
        expiresAt: string
        schemaVersion: 1
      }
      const { expiresMs } = parseToken(token)!
      expect(schemaVersion).toBe(1)
      expect(Math.abs(Date.parse(expiresAt) - expiresMs)).toBeLessThan(1000)
      expect(Math.abs(expiresMs - Date.now() - seconds * 1000)).toBeLessThan(60_000)
    })

  for (const text of ['', '1', 'h', '1w', '-1h', '0s', '31d', '1.5h', '1e9d'])
    test(`--expires "${text}": 2`, async () => {
      const { code, err } = await godwit(['cluster', 'token', '--cluster', directory, '--expires', text])
      expect(code).toBe(2)
      expect(err).toContain('It is a time like 90s, 10m, 1h or 7d, up to 30d.')
    })

  test('the directory from the environment, or none: 2', async () => {
    await godwit(['cluster', 'init', directory])
    expect((await godwit(['cluster', 'token'], { env: { GODWIT_CLUSTER_DIRECTORY: directory } })).code).toBe(0)
    const { code, err } = await godwit(['cluster', 'token'])
    expect([code, err]).toEqual([2, 'error: which cluster? --cluster DIR, as godwit cluster init has made it\n'])
  })

  test('a directory without a cluster: 3', async () => {
    const { code, err } = await godwit(['cluster', 'token', '--cluster', folder])
    expect(code).toBe(3)
    expect(err).toBe(`error: ${folder} holds no cluster (there is no ca.pem): godwit cluster init makes one\n`)
  })
})
