import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { join as joinBroker } from '../standard/kit.ts'
import { AuthFiles } from '../support/auth.ts'
import { startBroker } from '../support/broker.ts'
import { startGodwit } from '../support/program.ts'
import { connectPacket, RawClient } from '../support/raw.ts'
import type { TestBroker } from '../support/broker.ts'

// A configuration that says less than somebody meant opens nothing. test/config/auth.test.ts and permissions.test.ts have each mistake
// with its line and column; here is what a broker makes of them.

describe('abuse 15: a configuration that fails open', () => {
  test('a users file without users: nobody comes in', async () => {
    const files = new AuthFiles()
    files.write('users.yaml', 'users: {}\n')
    files.write('empty', '')
    for (const text of [
      'auth: { users: users.yaml }',
      'auth: { users: empty }',
      'auth: { mosquitto: { password_file: empty } }',
    ]) {
      const broker = await startBroker({ config: { auth: files.auth(text) } })
      for (const [username, password] of [
        [undefined, undefined],
        ['ann', 'x'],
        ['', ''],
      ] as const) {
        const client = await RawClient.open(broker)
        const shown = username === undefined ? {} : { username, password: Buffer.from(password) }
        client.send(connectPacket(5, { clientId: 'c', ...shown }))
        expect((await client.expect('connack')).reasonCode, text).toBeGreaterThanOrEqual(0x80)
      }
    }
  })

  test('an acl_file without a line: nothing is allowed', async () => {
    const files = new AuthFiles()
    files.write('acl', '# nothing yet\n')
    const { auth } = files.config('auth: { mosquitto: { acl_file: acl } }')
    const broker = await startBroker({ config: { auth }, allowAnonymous: true })
    const client = await joinBroker(broker, 'c')
    // To subscribe is no right there; to receive is one, asked for each message.
    await client.subscribe('#')
    broker.node.broker.inject({ topic: 'a', payload: Buffer.from('x'), qos: 1, retain: true })
    client.publish('a', 'x', { qos: 1, messageId: 1 })
    expect((await client.expect('puback')).reasonCode).toBe(0x87)
    await client.expectQuiet()
  })

  test('what is empty, wrong or cannot be read does not start', () => {
    const files = new AuthFiles()
    files.write('bad.acl', 'topic readwirte a\n')
    for (const text of [
      'auth:',
      'auth: {}',
      'auth: { order: [] }',
      'auth: { users: nowhere }',
      'auth: { mosquitto: { acl_file: nowhere } }',
      'auth: { mosquitto: { acl_file: bad.acl } }',
      'auth: { mosquitto: { acl_file: . } }',
      'permissions:',
      'permissions: []',
      'permissions: {}',
      'permissions: [{ effect: allow }]',
      'permissions: [{ effect: deny, who: everybody, actions: [], topics: [a] }]',
      'permission: []',
    ])
      expect(() => files.config(text), text).toThrow(/:\d+:\d+: /)
  })

  test('a file that has become so at a reload: the old one stays, and says so; whoever was denied is denied', async () => {
    const files = new AuthFiles()
    files.write('acl', 'topic read open\n')
    await files.users({ ann: { password: 'right' } })
    const config = files.write(
      'godwit.yaml',
      'listeners: [{ url: tcp://127.0.0.1:0 }]\nauth: { users: users.yaml, mosquitto: { acl_file: acl } }\n',
    )
    const { program, port } = await startGodwit(['--config', config])
    const broker = { port } as TestBroker
    const ann = { username: 'ann', password: Buffer.from('right') }
    const client = await RawClient.connect(broker, 5, { clientId: 'a', ...ann })
    const [users, acl] = [join(files.folder, 'users.yaml'), join(files.folder, 'acl')]
    const harms: readonly (() => void)[] = [
      () => writeFileSync(acl, 'topic readwirte #\n'),
      () => rmSync(acl),
      () => writeFileSync(users, 'users: ['),
      () => chmodSync(users, 0o644),
      () => rmSync(users),
      () => writeFileSync(config, ''.padEnd(10, '{')),
    ]
    let refusals = 0
    for (const harm of harms) {
      harm()
      program.signal('SIGHUP')
      refusals++
      while (program.err.text.split('the old one stays').length - 1 < refusals)
        await new Promise((resolve) => setImmediate(resolve))
      for (const topic of ['open', 'closed']) {
        client.publish(topic, 'x', { qos: 1, messageId: 1 })
        expect((await client.expect('puback')).reasonCode).toBe(0x87)
      }
      const stranger = await RawClient.open(broker)
      stranger.send(connectPacket(5, { clientId: 'b' }))
      expect((await stranger.expect('connack')).reasonCode).toBeGreaterThanOrEqual(0x80)
      await (await RawClient.connect(broker, 5, { clientId: `again-${refusals}`, ...ann })).disconnect()
    }
    program.signal('SIGTERM')
    expect(await program.code).toBe(0)
  })
})
