import { describe, expect, test } from 'vitest'
import { acknowledge, join, publishEach, told } from '../standard/kit.ts'
import { only5, packet, u16, type Version, versions } from '../standard/wire.ts'
import { startBroker } from '../support/broker.ts'
import { honest } from './kit.ts'
import { Reason } from '../../src/mqtt/reason.ts'

const refused = (version: Version): number => (version === 5 ? Reason.topicFilterInvalid : 0x80)

describe('abuse 7: malformed $share', () => {
  const filters = [
    '$share',
    '$share/',
    '$share/ab',
    '$share/ab/',
    '$share//x',
    '$share//',
    '$share///',
    '$share/+/x',
    '$share/a+/x',
    '$share/#',
    '$share/#/x',
    '$share/a#/x',
    '$share/ab/#/x',
    '$share/ab/x+',
  ]
  for (const version of versions)
    test(`version ${version}: refused alone, and what would match goes its way`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      const client = await join(broker, 'client', version)
      for (const filter of filters)
        expect([filter, await client.subscribe(filter, 1)]).toEqual([filter, refused(version)])
      expect(broker.node.broker.tree.size).toBe(1)
      // In one packet with a good one, and with its group.
      client.bytes(packet(0x82, u16(1), only5(version), '$share//x', 1, '$share/ab/x', 1, 'x', 1, '$share/ab', 1))
      expect((await client.expect('suback')).granted).toEqual([refused(version), 1, 1, refused(version)])
      const publisher = await join(broker, 'publisher', version)
      for (const topic of ['x', 'ab', '/x', 'ab/x', 'share/ab']) await publishEach(publisher, [[topic, 1]], { topic })
      const heard = [await client.expect('publish'), await client.expect('publish')]
      expect(heard.map((one) => told(one).split(' ')[0])).toEqual(['x=x', 'x=x'])
      for (const one of heard) await acknowledge(client, one)
      await client.expectQuiet()
      client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: filters })
      await client.expect('unsuback')
      await client.expectQuiet()
      await others.served()
    })
})
