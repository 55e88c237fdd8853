import { describe, expect, test } from 'vitest'
import { hears, join, joinKept, publishEach } from '../standard/kit.ts'
import { versions } from '../standard/wire.ts'
import { AuthFiles } from '../support/auth.ts'
import { startBroker } from '../support/broker.ts'

// A filter that covers more than what is denied, in part or in whole, brings what is left.

const rules = `
permissions:
  - { effect: allow, who: everybody, actions: [publish, retain, subscribe, receive, shared], topics: ['#'] }
  - { effect: deny, who: { clientIds: [reader] }, actions: [receive], topics: ['a/+/s', '+/+/+/s', 'a/t/#'] }
`

describe('abuse 14: a wildcard over what is denied', () => {
  for (const version of versions)
    for (const filter of ['a/#', '#', '+/+/s', 'a/+/+', '+/#', 'a/x/s', '$share/g/a/#', '$share/g/#', '$share/g/+/x/s'])
      test(`version ${version}, ${filter}: what is denied never comes, live, retained or queued`, async () => {
        const { permissions } = new AuthFiles().config(rules)
        const broker = await startBroker({ config: { permissions } })
        const writer = await join(broker, 'writer', version)
        const denied = ['a/x/s', 'a//s', 'a/y/z/s', 'a/t', 'a/t/u']
        const publish = async (topic: string): Promise<void> =>
          publishEach(
            writer,
            [
              [topic, 0],
              [topic, 1],
              [topic, 2],
            ],
            { topic, retain: true },
          )
        for (const topic of denied) await publish(topic)
        const reader = await joinKept(broker, 'reader', version)
        expect(await reader.subscribe(filter, 2)).toBe(2)
        for (const topic of denied) await publish(topic)
        await reader.expectQuiet()
        await reader.disconnect()
        for (const topic of denied) await publish(topic)
        const back = await joinKept(broker, 'reader', version)
        await back.expectQuiet()
        // What is not denied, and is matched, comes.
        await back.subscribe('a/x/t')
        await publishEach(writer, [['yes', 0]], { topic: 'a/x/t' })
        expect((await hears(back, 1))[0]).toMatch(/^a\/x\/t=yes/)
      })

  test('a member of a group who may not have it does not keep it from the others', async () => {
    const { permissions } = new AuthFiles().config(rules)
    const broker = await startBroker({ config: { permissions } })
    const [reader, other] = [await join(broker, 'reader'), await join(broker, 'other')]
    for (const member of [reader, other]) await member.subscribe('$share/g/a/#', 0)
    const writer = await join(broker, 'writer')
    for (let count = 0; count < 10; count++) await publishEach(writer, [[`${count}`, 1]], { topic: 'a/x/s' })
    expect(await hears(other, 10)).toHaveLength(10)
    await reader.expectQuiet()
  })
})
