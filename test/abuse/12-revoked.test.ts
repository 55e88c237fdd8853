import { describe, expect, test } from 'vitest'
import { acknowledge, hears, join, joinKept, publishEach, publishes, settle } from '../standard/kit.ts'
import { versions } from '../standard/wire.ts'
import { AuthFiles } from '../support/auth.ts'
import { startBroker, temporaryFolder, type TestBroker } from '../support/broker.ts'
import type { RawClient } from '../support/raw.ts'
import { subscribeDenied } from './kit.ts'

// The configuration takes a right away while somebody uses it, and is read again. test/broker/permissions.test.ts has the
// states of the protocol one by one; here the way is the whole one, from the file on.

const granted = `
permissions:
  - { effect: allow, who: everybody, actions: [publish, retain, will, subscribe, receive, shared], topics: ['#'] }
`
const revoked = `${granted}
  - { effect: deny, who: { clientIds: [reader] }, actions: [subscribe, receive], topics: [secret/#] }
  - { effect: deny, who: { clientIds: [writer] }, actions: [publish], topics: [taken] }
`
const files = () => new AuthFiles()

describe('abuse 12: rights that are taken away', () => {
  for (const version of versions)
    test(`version ${version}: nothing comes any more: retained, queued, in flight, live, shared or taken over`, async () => {
      const { broker, revoke } = await world()
      const writer = await join(broker, 'writer', version)
      const reader = await joinKept(broker, 'reader', version)
      for (const filter of ['#', '$share/g/secret/#', 'secret/+']) await reader.subscribe(filter, 2)
      // One of each to itself, and one to it as the member of a group.
      await publishEach(
        writer,
        [
          ['flying', 1],
          ['flying', 2],
        ],
        { topic: 'secret/x' },
      )
      await publishes(reader, 4)
      await reader.drop()
      await publishEach(
        writer,
        [
          ['queued', 1],
          ['queued', 2],
        ],
        { topic: 'secret/x', retain: true },
      )
      await publishEach(writer, [['open', 1]], { topic: 'open' })
      await revoke()
      let back = await joinKept(broker, 'reader', version)
      expect(await payloads(back)).toEqual(['open'])
      // Another takes over: nothing is played to it either.
      back = await joinKept(broker, 'reader', version)
      for (const filter of ['secret/#', 'secret/x', '$share/h/secret/+'])
        expect(await back.subscribe(filter, 1)).toBe(subscribeDenied(version))
      await back.subscribe('#', 1)
      await publishEach(
        writer,
        [
          ['live', 0],
          ['live', 1],
          ['live', 2],
        ],
        { topic: 'secret/x', retain: true },
      )
      expect(await payloads(back)).toEqual([])
      await publishEach(writer, [['yes', 1]], { topic: 'open' })
      expect(await payloads(back)).toEqual(['yes'])
    })

  for (const version of versions)
    test(`version ${version}: who may not publish any more has not published since, nor has what it left`, async () => {
      const { broker, revoke } = await world()
      const reader = await join(broker, 'other', version)
      await reader.subscribe('taken')
      const will = { topic: 'taken', payload: Buffer.from('will'), qos: 1, retain: true } as const
      const writer = await join(broker, 'writer', version, { will })
      await publishEach(writer, [['before', 1]], { topic: 'taken' })
      expect(await hears(reader, 1)).toEqual(['taken=before q0'])
      await revoke()
      await publishEach(
        writer,
        [
          ['after', 0],
          ['after', 1],
        ],
        { topic: 'taken', retain: true },
      )
      await settle(writer)
      await writer.drop()
      await reader.expectQuiet()
      expect(broker.node.broker.retained.size).toBe(0)
    })

  test('nor after a restart with the new configuration', async () => {
    const data = temporaryFolder()
    const before = await startBroker({ data, config: { permissions: files().config(granted).permissions } })
    const [writer, reader] = [await join(before, 'writer'), await joinKept(before, 'reader')]
    await reader.subscribe('#', 2)
    await publishEach(writer, [['flying', 2]], { topic: 'secret/x' })
    await publishes(reader, 1)
    await reader.drop()
    await publishEach(writer, [['queued', 1]], { topic: 'secret/x', retain: true })
    await before.node.close()
    const broker = await startBroker({ data, config: { permissions: files().config(revoked).permissions } })
    const back = await joinKept(broker, 'reader')
    // What is queued is read back from the disk, which takes its time.
    do expect(await payloads(back)).toEqual([])
    while (broker.node.broker.pending > 0)
    await back.subscribe('#', 2)
    expect(await payloads(back)).toEqual([])
  })

  async function world(): Promise<{ broker: TestBroker; revoke: () => Promise<void> }> {
    const broker = await startBroker({ config: { permissions: files().config(granted).permissions } })
    return { broker, revoke: () => broker.reload(undefined, { permissions: files().config(revoked).permissions }) }
  }
})

/** The payloads of all that comes until nothing more does; each is taken to its end. */
async function payloads(client: RawClient): Promise<string[]> {
  const heard: string[] = []
  client.bytes('c0 00')
  for (let next = await client.next(); next.cmd !== 'pingresp'; next = await client.next()) {
    // A QoS 2 message that was on its way is ended, without having been sent again.
    if (next.cmd === 'pubrel') client.send({ cmd: 'pubcomp', messageId: next.messageId as number })
    if (next.cmd !== 'publish') continue
    heard.push(String(next.payload))
    await acknowledge(client, next)
  }
  return heard
}
