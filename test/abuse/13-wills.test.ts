import { describe, expect, test } from 'vitest'
import { hasten, hears, join, joinKept, settle } from '../standard/kit.ts'
import { versions } from '../standard/wire.ts'
import { AuthFiles } from '../support/auth.ts'
import { startBroker, type TestBroker, type TestBrokerOptions } from '../support/broker.ts'
import { connectPacket, RawClient } from '../support/raw.ts'

// A will speaks when its client cannot be asked any more: it may say no more than the client might.

const allowed = `
permissions:
  - { effect: allow, who: everybody, actions: [publish, retain, will, subscribe, receive], topics: ['#'] }
  - { effect: deny, who: everybody, actions: [publish], topics: [no/publish] }
  - { effect: deny, who: everybody, actions: [will], topics: [no/will] }
  - { effect: deny, who: everybody, actions: [retain], topics: [no/retain] }
`
const revoked = `${allowed}
  - { effect: deny, who: { clientIds: [leaver] }, actions: [will], topics: [will/#] }
`
const permissionsOf = (text: string) => new AuthFiles().config(text).permissions

describe('abuse 13: wills', () => {
  for (const version of versions)
    test(`version ${version}: to a topic that is denied: refused with its CONNECT, and never published`, async () => {
      const { broker, expectNone } = await world({ config: { permissions: permissionsOf(allowed) } })
      for (const [topic, retain] of [
        ['no/publish', false],
        ['no/will', false],
        ['no/retain', true],
        ['$SYS/x', false],
      ] as const) {
        const client = await RawClient.open(broker, version)
        const will = { topic, payload: Buffer.from('x'), qos: 1, retain } as const
        client.send(connectPacket(version, { clientId: 'leaver', will }))
        const { reasonCode, returnCode } = await client.expect('connack')
        expect([topic, reasonCode ?? returnCode]).toEqual([topic, version === 5 ? 0x87 : 5])
        await client.expectClosed()
      }
      await expectNone()
    })

  for (const version of versions)
    test(`version ${version}: of one that is not let in: never published`, async () => {
      const files = new AuthFiles()
      await files.users({ ann: { password: 'right' } })
      const { auth } = files.config('auth: { users: users.yaml }')
      const { broker, expectNone } = await world({ config: { auth }, allowAnonymous: true })
      const will = { topic: 'will/x', payload: Buffer.from('x'), qos: 1, retain: true } as const
      for (const [username, password] of [
        ['ann', 'wrong'],
        ['bob', 'right'],
        ['ann', ''],
      ] as const) {
        // Gone before it is answered, or after.
        for (const waits of [false, true]) {
          const client = await RawClient.open(broker, version)
          const shown = { clientId: `leaver-${username}`, username, password: Buffer.from(password), will }
          client.send(connectPacket(version, shown))
          if (waits) await client.expect('connack')
          else await client.drop()
        }
        hasten(60)
      }
      await expectNone()
    })

  test('delayed, and its right is taken away meanwhile: never published', async () => {
    const { broker, reader, expectNone } = await world({ config: { permissions: permissionsOf(allowed) } })
    const delayed = (topic: string) => ({
      will: { topic, payload: Buffer.from(topic), qos: 1, retain: true, properties: { willDelayInterval: 5 } } as const,
    })
    const properties = { sessionExpiryInterval: 3600 }
    const leaver = await join(broker, 'leaver', 5, { clean: false, properties, ...delayed('will/late') })
    const other = await join(broker, 'other', 5, { clean: false, properties, ...delayed('will/other') })
    await leaver.drop()
    await other.drop()
    await broker.reload(undefined, { permissions: permissionsOf(revoked) })
    hasten(6)
    // It fires when the clock ticks: the one that may comes, and the other does not.
    expect(await hears(reader, 1)).toEqual(['will/other=will/other q0'])
    await expectNone(1)
    expect(broker.node.broker.ledger.refused).toBe(1)
  })

  test('taken back before it fires: never published', async () => {
    const { broker, expectNone } = await world()
    const will = {
      topic: 'will/x',
      payload: Buffer.from('x'),
      qos: 1,
      retain: true,
      properties: { willDelayInterval: 5 },
    } as const
    const kept = { clean: false, properties: { sessionExpiryInterval: 3600 } }
    const leaver = await join(broker, 'leaver', 5, { ...kept, will })
    await leaver.drop()
    const back = await joinKept(broker, 'leaver')
    hasten(6)
    await settle(back)
    await back.disconnect()
    await expectNone()
  })
})

async function world(options: TestBrokerOptions = {}): Promise<{
  broker: TestBroker
  reader: RawClient
  /** Nothing more has come to the reader, and so much is retained. */
  expectNone: (retained?: number) => Promise<void>
}> {
  const broker = await startBroker(options)
  const reader = await join(broker, 'reader')
  expect(await reader.subscribe('#')).toBe(0)
  return {
    broker,
    reader,
    async expectNone(retained = 0) {
      await reader.expectQuiet()
      expect(broker.node.broker.retained.size).toBe(retained)
    },
  }
}
