import { expect } from 'vitest'
import { startBroker } from '../support/broker.ts'
import type { RawClient } from '../support/raw.ts'
import { covers } from './covering.ts'
import { closes, eachRow, hears, join, settle } from './kit.ts'
import { only5, packet, transports, versions } from './wire.ts'

/** The topics that a client has been sent by now. */
async function heard(client: RawClient): Promise<string[]> {
  client.bytes('c0 00')
  const topics: string[] = []
  for (let next = await client.next(); next.cmd !== 'pingresp'; next = await client.next())
    if (next.cmd === 'publish') topics.push(String(next.topic))
  return topics
}

// e with an accent in one character and in two, and a leading zero width no-break space: three names, as they stand.
const names = ['\u00e9', 'e\u0301', '\ufeffa']
const plain = ['a', 'b', 'A', 'a b', ' ', ...names]
const deep = ['a/b', 'a/b/c', 'b/b', '/', '/a', 'a/', '//', 'a//c', '\u{1f600}/b']
const dollar = ['$x', '$x/b', '$']

covers(
  [
    '5:MQTT-4.7.1-1',
    '5:MQTT-4.7.1-2',
    '5:MQTT-4.7.2-1',
    '5:MQTT-4.7.3-4',
    '5:MQTT-1.5.4-3',
    '3.1.1:MQTT-4.7.1-2',
    '3.1.1:MQTT-4.7.1-3',
    '3.1.1:MQTT-4.7.2-1',
    '3.1.1:MQTT-4.7.3-4',
    '3.1.1:MQTT-1.5.3-3',
  ],
  'a filter matches what it should, character by character, and `$` topics by name alone',
  async () => {
    const broker = await startBroker()
    const pub = await join(broker, 'pub')
    const topics = [...plain, ...deep, ...dollar]
    await eachRow<[string, string[]]>(
      [
        ['#', [...plain, ...deep]],
        ['+/#', [...plain, ...deep]],
        ['+', plain],
        ['+/+', ['a/b', 'b/b', '/', '/a', 'a/', '\u{1f600}/b']],
        ['+/+/+', ['a/b/c', '//', 'a//c']],
        ['+/b', ['a/b', 'b/b', '\u{1f600}/b']],
        ['+/b/#', ['a/b', 'a/b/c', 'b/b', '\u{1f600}/b']],
        ['a/#', ['a', 'a/b', 'a/b/c', 'a/', 'a//c']],
        ['a/+', ['a/b', 'a/']],
        ['a/+/c', ['a/b/c', 'a//c']],
        ['a/b/c/#', ['a/b/c']],
        ['a/b/c/+', []],
        ['/+', ['/', '/a']],
        ['/#', ['/', '/a', '//']],
        ['+/', ['/', 'a/']],
        ['//', ['//']],
        ['$x', ['$x']],
        ['$x/#', ['$x', '$x/b']],
        ['$x/+', ['$x/b']],
        ['$/#', ['$']],
        ['\u{1f600}/+', ['\u{1f600}/b']],
        ['a\\b', []],
        ['a%20b', []],
        ['__proto__', []],
        ...[...plain, ...deep, ...dollar].map((topic): [string, string[]] => [topic, [topic]]),
      ],
      async (filter, expected) => {
        for (const version of versions) {
          const sub = await join(broker, 'sub', version, {}, transports[version % 2])
          expect(await sub.subscribe(filter, 0)).toBe(0)
          for (const topic of topics) pub.publish(topic)
          await settle(pub)
          expect((await heard(sub)).sort()).toEqual([...expected].sort())
        }
      },
    )
  },
)

covers(
  ['5:MQTT-4.7.3-3', '3.1.1:MQTT-4.7.3-3'],
  'a name of 65,535 bytes goes through whole; one of more levels than we keep is refused',
  async () => {
    const broker = await startBroker()
    const long = ['y'.repeat(65_535), `${'\u00fc'.repeat(32_767)}y`, `a/${'z'.repeat(65_533)}`]
    const levels = Array<string>(100).fill('l').join('/')
    for (const version of versions) {
      const client = await join(broker, 'client', version)
      for (const topic of [...long, levels, '/'.repeat(99)]) {
        expect(await client.subscribe(topic)).toBe(0)
        client.publish(topic, 'x')
        expect(await hears(client, 1)).toEqual([`${topic}=x q0`])
      }
    }
    await closes(versions, [
      ['101 levels', (version) => packet(0x30, `${levels}/l`, only5(version)), 0x90],
      ['65,536 levels', (version) => packet(0x30, '/'.repeat(65_535), only5(version)), 0x90],
    ])
  },
)

covers(
  ['5:MQTT-4.7.2-1', '3.1.1:MQTT-4.7.2-1'],
  "the broker's own topics come to who asks for them, and to no wildcard",
  async () => {
    const broker = await startBroker({ limits: { sysSeconds: 1 } })
    const [all, own] = [await join(broker, 'all'), await join(broker, 'own')]
    for (const filter of ['#', '+/broker/#', '+/+/version', '+/#']) await all.subscribe(filter)
    await own.subscribe('$SYS/broker/version')
    expect(String((await own.expect('publish')).payload)).toMatch(/^godwit version /)
    await all.expectQuiet()
  },
)
