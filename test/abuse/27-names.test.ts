import { describe, expect, test } from 'vitest'
import { hears, join, joinKept, publishEach } from '../standard/kit.ts'
import { block, packet, versions } from '../standard/wire.ts'
import { startBroker, temporaryFolder } from '../support/broker.ts'

describe('abuse 27: names that JavaScript knows', () => {
  const names = ['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty', '__defineGetter__']

  for (const version of versions)
    test(`version ${version}: as id, user, level, group and key they are names like others, also after a restart`, async () => {
      const data = temporaryFolder()
      const before = await startBroker({ data })
      const pure = Object.getOwnPropertyNames(Object.prototype)
      for (const name of names) {
        const client = await joinKept(before, name, version, {}, 'tcp')
        for (const filter of [name, `${name}/+/${name}`, `$share/${name}/${name}/#`])
          expect(await client.subscribe(filter, 1)).toBe(1)
        await client.disconnect()
      }
      expect(before.node.broker.sessions.size).toBe(names.length)
      await before.node.close()
      const broker = await startBroker({ data })
      const publisher = await join(broker, 'publisher', version, { username: '__proto__' })
      for (const name of names) {
        const told = version === 5 ? { properties: { responseTopic: name } } : {}
        for (const topic of [name, `${name}/x/${name}`])
          await publishEach(publisher, [[name, 1]], { topic, retain: true, ...told })
      }
      for (const name of names) {
        const client = await joinKept(broker, name, version)
        // By its own two filters, and by the group, of which it is the one member.
        const heard = await hears(client, 4)
        expect(heard.map((line) => line.split('=')[0]).sort()).toEqual(
          [name, name, `${name}/x/${name}`, `${name}/x/${name}`].sort(),
        )
        expect(broker.node.broker.sessions.get(name)?.subscriptions.size).toBe(3)
        await client.drop()
      }
      expect(broker.node.broker.retained.size).toBe(2 * names.length)
      expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(pure)
    })

  test('a user property of theirs is passed on, byte for byte', async () => {
    const broker = await startBroker()
    const client = await join(broker, 'client')
    await client.subscribe('t')
    const properties = block(...names.flatMap((name) => [0x26, name, '{"__proto__":{"admin":true}}']))
    client.bytes(packet(0x30, 't', properties))
    expect((await client.expect('publish')).raw).toEqual(packet(0x30, 't', properties))
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })
})
