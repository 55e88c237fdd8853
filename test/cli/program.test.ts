import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { invocation } from '../../src/cli/process.ts'
import { version } from '../../src/version.ts'
import { godwit } from './godwit.ts'

test('version', async () => {
  const platform = `${process.platform} ${process.arch}`
  const line = `godwit ${version} (Node.js ${process.version}, ${platform})\n`
  expect(await godwit(['version'])).toEqual({ code: 0, out: line, err: '' })
  const { out } = await godwit(['version', '--json'])
  const { platform: name, arch } = process
  const wanted = { schemaVersion: 1, name: 'godwit', version, node: process.versions.node, platform: name, arch }
  expect(JSON.parse(out)).toEqual(wanted)
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
  expect(version).toBe(manifest.version)
})

describe('help', () => {
  for (const args of [
    ['--help'],
    ['help'],
    ['pub', '--help'],
    ['help', 'sub'],
    ['start', '--help'],
    ['bench', '--help'],
    ['acl', 'test', '--help'],
  ])
    test(args.join(' '), async () => {
      const { code, out, err } = await godwit(args)
      expect([code, err]).toEqual([0, ''])
      expect(out).toMatch(/^Usage: godwit /)
      for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(120)
    })
})

describe('slips of the finger end with 2', () => {
  for (const [args, wanted] of [
    [['strat'], `error: unknown command 'strat'\n(Did you mean start?)\n`],
    [['sbu'], `error: unknown command 'sbu'\n(Did you mean sub?)\n`],
    [['--port'], `error: unknown option '--port'\n`],
    [['sub', '--topci', 'a'], `error: unknown option '--topci'\n(Did you mean --topic?)\n`],
    [['version', 'x'], `error: too many arguments for 'version'. Expected 0 arguments but got 1.\n`],
  ] as const)
    test(args.join(' '), async () => expect(await godwit(args)).toEqual({ code: 2, out: '', err: wanted }))

  test('nothing at all', async () => {
    const { code, out, err } = await godwit([])
    expect([code, out]).toEqual([2, ''])
    expect(err).toMatch(/^Usage: godwit /)
  })
})

describe('the words that start us', () => {
  for (const [script, env, wanted] of [
    ['/home/me/godwit/dist/main.js', {}, 'node dist/main.js'],
    ['/home/me/my godwit/dist/main.js', {}, `node '/home/me/my godwit/dist/main.js'`],
    ['/opt/godwit/dist/main.js', {}, 'node /opt/godwit/dist/main.js'],
    ['/usr/local/bin/godwit', {}, 'godwit'],
    ['/home/me/godwit/node_modules/.bin/godwit', {}, 'npx godwit'],
    ['/home/me/.npm/_npx/1/node_modules/godwit/dist/main.js', { npm_command: 'exec' }, 'npx godwit'],
  ] as const)
    test(wanted, () => expect(invocation(script, '/home/me/godwit', env)).toBe(wanted))
})
