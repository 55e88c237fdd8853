import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { main, Program, root, screen, temporary } from '../support/program.ts'
import { connectBytes, gone } from './kit.ts'

/** A broker that may open few files, and a client of it. */
async function start(files: number) {
  const folder = temporary()
  const file = join(folder, 'godwit.yaml')
  const configured = (more = ''): void =>
    writeFileSync(file, `listeners: [{ url: 'tcp://127.0.0.1:0' }]\nadmin: { listen: off }\n${more}`)
  configured()
  const hog = join(root, 'test/listeners/hog.mjs')
  const line = `ulimit -n ${files}; exec "$0" --import "$1" "$2" start --config "$3" --data "$4"`
  const args = ['-c', line, process.execPath, `file://${hog}`, main, file, join(folder, 'data')]
  const program = new Program('sh', args)
  const { urls } = await screen(program)
  const port = Number(new URL(urls[0]!).port)
  return { program, configured, dial: () => connect(port, '127.0.0.1').on('error', () => {}) }
}

/** CONNACK has come; false when it was closed instead. */
function welcomed(socket: Socket): Promise<boolean> {
  socket.write(connectBytes)
  return new Promise((resolve) => {
    socket.once('data', () => resolve(true)).once('close', () => resolve(false))
  })
}

describe('abuse 15: no descriptors left', () => {
  test('clients cannot take the last: who is too many is closed, and said once; a place that is free is taken', async () => {
    const { program, configured, dial } = await start(256)
    const sockets: Socket[] = []
    const open = async (): Promise<boolean> => {
      const socket = dial()
      sockets.push(socket)
      return welcomed(socket)
    }
    let count = 0
    while (await open()) count++
    expect(count).toBe(128)
    for (let i = 0; i < 20; i++) expect(await open()).toBe(false)
    expect((await program.err.until('a connection was refused')).match(/a connection was refused/g)).toHaveLength(1)
    // There is room for a reload, and for the store.
    configured('limits: { queueMessages: 7 }\n')
    program.signal('SIGHUP')
    await program.err.until('has been read again')
    sockets[0]!.destroy()
    while (!(await open()));
    for (const socket of sockets) socket.destroy()
  })

  test('somebody else has taken the last: nobody comes in, a reload keeps the old configuration, and it recovers', async () => {
    const { program, configured, dial } = await start(256)
    const here = dial()
    expect(await welcomed(here)).toBe(true)
    program.signal('SIGUSR2')
    await program.err.until('hog: EMFILE')
    for (let i = 0; i < 10; i++) await gone(dial())
    configured('limits: { queueMessages: 7 }\n')
    program.signal('SIGHUP')
    expect(await program.err.until('the old one stays')).toMatch(/cannot read .*godwit.yaml/)
    // Who is here is served.
    here.write(Buffer.from('c000', 'hex'))
    expect((await once(here, 'data'))[0]).toEqual(Buffer.from('d000', 'hex'))
    program.signal('SIGUSR2')
    await program.err.until('hog: gave them back')
    expect(await welcomed(dial())).toBe(true)
    program.signal('SIGHUP')
    await program.err.until('has been read again')
    program.signal('SIGTERM')
    expect(await program.code).toBe(0)
  })
})
