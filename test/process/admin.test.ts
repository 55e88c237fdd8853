import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { freePort, godwit, startGodwit, temporary } from '../support/program.ts'

// The admin listener of a real process, and how `godwit cluster` finds it.

const anyPort = ['--listen', 'tcp://127.0.0.1:0']
const adminOf = (text: string): string | undefined => /^ {2}admin: (http:\/\/\S+)$/m.exec(text)?.[1]

describe('godwit start', () => {
  test('prints it, leaves word of it, and takes that away at the end', async () => {
    const data = join(temporary(), 'data')
    const { program } = await startGodwit([...anyPort, '--data', data, '--admin', '127.0.0.1:0'])
    const url = adminOf(program.out.text)
    expect(readFileSync(join(data, 'admin'), 'utf8')).toBe(`${url}\n`)
    expect(statSync(join(data, 'admin-token')).mode & 0o777).toBe(0o600)
    const status = await godwit(['cluster', 'status', '--data', data, '--json']).ended()
    expect([status.code, status.err]).toEqual([0, ''])
    expect(JSON.parse(status.out)).toMatchObject({
      schemaVersion: 1,
      state: 'serving',
      clients: 0,
      nodes: [{ state: 'self' }],
    })
    expect(await godwit(['cluster', 'routes', '--data', data]).ended()).toEqual({
      code: 5,
      out: '',
      err: 'error: this node is in no cluster; godwit start --cluster makes it part of one\n',
    })
    program.signal('SIGTERM')
    expect(await program.code).toBe(0)
    expect((await godwit(['cluster', 'status', '--data', data]).ended()).code).toBe(1)
  })

  test('two on one machine, of which nobody has named a port', async () => {
    const both = await Promise.all([startGodwit(), startGodwit()])
    const urls = both.map(({ program }) => adminOf(program.out.text))
    expect(new Set(urls).size).toBe(2)
    for (const url of urls) expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  })

  test('a port that was named, and is taken: 1', async () => {
    const port = await freePort()
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    const { code, err } = await godwit(['start', ...anyPort, '--admin', `127.0.0.1:${port}`]).ended()
    await new Promise((resolve) => server.close(resolve))
    expect(code).toBe(1)
    expect(err).toContain(
      `error: cannot listen on http://127.0.0.1:${port}: another program has this port; choose another with --admin HOST:PORT\n`,
    )
  })

  test('a token that others may read: 3', async () => {
    const data = join(temporary(), 'data')
    const first = await startGodwit([...anyPort, '--data', data])
    first.program.signal('SIGTERM')
    await first.program.code
    writeFileSync(join(data, 'admin-token'), 'x'.repeat(43))
    chmodSync(join(data, 'admin-token'), 0o644)
    const { code, err } = await godwit(['start', ...anyPort, '--data', data]).ended()
    expect(code).toBe(3)
    expect(err).toContain('others on this machine may open it')
  })

  for (const [name, args] of [
    ['off', ['--admin', 'off']],
    ['nothing is kept on disk', ['--durability', 'memory']],
  ] as const)
    test(`none: ${name}`, async () => {
      const { program } = await startGodwit([...anyPort, ...args])
      expect(adminOf(program.out.text)).toBeUndefined()
    })

  test('after kill -9 the next start takes over what was left', async () => {
    const data = join(temporary(), 'data')
    const first = await startGodwit([...anyPort, '--data', data])
    await first.program.kill()
    const { program } = await startGodwit([...anyPort, '--data', data])
    const status = await godwit(['cluster', 'status', '--data', data]).ended()
    expect([status.code, status.err]).toEqual([0, ''])
    program.signal('SIGTERM')
    expect(await program.code).toBe(0)
  })
})
