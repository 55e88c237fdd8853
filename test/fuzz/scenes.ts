import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Packet } from 'mqtt-packet'
import { connectPacket, encode } from '../mqtt/line.ts'
import { parseScript, type Script, type Step } from './script.ts'

// Real sequences, from which everything else is made: a few clients that do what clients do, in each version.

type Version = 3 | 4 | 5
type More = Record<string, unknown>

const versions: readonly Version[] = [3, 4, 5]

/** Writes one client's part of a scene. */
class Part {
  constructor(
    readonly version: Version,
    readonly on: number,
  ) {}

  connect(clientId: string, more: More = {}): Step {
    return this.packet({ ...connectPacket(this.version), properties: {}, clientId, ...more })
  }

  publish(topic: string, qos: 0 | 1 | 2, messageId: number, more: More = {}): Step {
    const plain = { cmd: 'publish', topic, payload: 'hello', qos, messageId, dup: false, retain: false } as const
    return this.packet({ ...plain, ...more })
  }

  subscribe(messageId: number, qos: 0 | 1 | 2, ...filters: string[]): Step {
    const subscriptions = filters.map((topic) => ({ topic, qos, nl: false, rap: true, rh: 0 }))
    return this.packet({ cmd: 'subscribe', messageId, subscriptions })
  }

  ack(cmd: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp', messageId: number): Step {
    return this.packet({ cmd, messageId })
  }

  packet(packet: Packet): Step {
    return { do: 'send', on: this.on, bytes: Uint8Array.from(encode(packet, this.version)) }
  }

  does(what: 'open' | 'hang' | 'stall' | 'read' | 'answer'): Step {
    return { do: what, on: this.on }
  }

  get leave(): Step {
    return this.packet({ cmd: 'disconnect' })
  }
}

const wait = (ms: number): Step => ({ do: 'wait', ms })

/** A client and, mostly, another one in the next slot that hears it. */
function scenesOf(version: Version): Script[] {
  const a = new Part(version, 0)
  const b = new Part(version, 1)
  const five = version === 5
  const kept = { clean: false, ...(five && { properties: { sessionExpiryInterval: 100 } }) }
  const will = { topic: 'w/1', payload: Buffer.from('gone'), qos: 1, retain: true }
  return [
    [a.connect('a'), a.subscribe(1, 2, 't/#'), a.publish('t/0', 0, 0), a.packet({ cmd: 'pingreq' }), a.leave],
    [
      b.connect('b'),
      b.does('answer'),
      b.subscribe(1, 2, 't/+', '#'),
      a.connect('a'),
      a.publish('t/1', 1, 1),
      a.publish('t/2', 2, 2),
      a.ack('pubrel', 2),
      a.publish('t/2', 2, 2),
      a.publish('t/2', 2, 2, { dup: true }),
      a.ack('pubrel', 2),
      a.leave,
    ],
    [
      b.connect('b', kept),
      b.subscribe(7, 1, 't', 't/#', '$share/g/t/#'),
      b.does('hang'),
      a.connect('a'),
      ...[1, 2, 3, 4, 5, 6].map((id) => a.publish(`t/${id}`, id % 2 === 0 ? 1 : 2, id)),
      b.does('open'),
      b.connect('b', kept),
      b.ack('puback', 1),
      b.ack('pubrec', 2),
      b.ack('pubcomp', 2),
      b.ack('puback', 3),
      b.leave,
    ],
    [a.connect('c', { will }), b.connect('c', { will, ...kept }), b.subscribe(1, 1, 'w/+'), b.does('hang'), wait(1500)],
    [
      a.connect('r'),
      ...['r/1', 'r/2', 'r/1/x', '$r'].map((topic) => a.publish(topic, 1, 9, { retain: true })),
      b.connect('s'),
      b.subscribe(1, 2, 'r/#', '+/1', '$share/g/r/#'),
      a.publish('r/1', 0, 0, { retain: true, payload: '' }),
      b.subscribe(2, 0, '#'),
      b.packet({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: ['r/#', '#', 'never'] }),
    ],
    [
      ...[0, 1, 2].flatMap((on) => {
        const member = new Part(version, on)
        return [member.connect(`m${on}`, on === 2 ? kept : {}), member.subscribe(1, 1, '$share/g/job/+')]
      }),
      ...[1, 2, 3, 4].map((id) => a.publish(`job/${id}`, 1, id)),
      b.does('hang'),
      new Part(version, 2).ack('puback', 1),
      a.publish('job/5', 2, 5),
      new Part(version, 2).does('hang'),
      a.publish('job/6', 2, 6),
    ],
    [
      b.connect('slow'),
      b.subscribe(1, 1, '#'),
      b.does('stall'),
      a.connect('fast'),
      ...[1, 2, 3, 4, 5, 6, 7].map((id) => a.publish('t', (id % 3) as 0 | 1 | 2, id, { payload: 'x'.repeat(200) })),
      wait(1200),
      b.does('read'),
      b.packet({ cmd: 'pingreq' }),
      wait(6000),
    ],
    [
      a.connect('k', { keepalive: 5 }),
      a.packet({ cmd: 'pingreq' }),
      wait(7000),
      a.packet({ cmd: 'pingreq' }),
      wait(8000),
    ],
  ]
}

function scenesOfFive(): Script[] {
  const a = new Part(5, 0)
  const b = new Part(5, 1)
  const auth = (reasonCode: number, data: number[]): Step =>
    a.packet({
      cmd: 'auth',
      reasonCode,
      properties: { authenticationMethod: 'm', authenticationData: Buffer.from(data) },
    })
  const method = { properties: { authenticationMethod: 'm', authenticationData: Buffer.from([1, 2]) } }
  const will = { topic: 'w', payload: Buffer.from('later'), qos: 2, retain: false }
  const delayed = { ...will, properties: { willDelayInterval: 3, messageExpiryInterval: 5, contentType: 't' } }
  return [
    [
      a.connect('auth', method),
      auth(0x18, [3, 4]),
      auth(0x19, [5, 6]),
      auth(0x18, [7, 8]),
      a.publish('t', 1, 1),
      a.leave,
    ],
    [a.connect('auth', method), auth(0x18, [3]), a.publish('t', 1, 1)],
    [
      a.connect('w', { will: delayed, properties: { sessionExpiryInterval: 10 } }),
      b.connect('v'),
      b.does('answer'),
      b.subscribe(1, 2, 'w'),
      a.does('hang'),
      wait(2000),
      a.does('open'),
      a.connect('w', { clean: false, will: delayed, properties: { sessionExpiryInterval: 10 } }),
      a.packet({ cmd: 'disconnect', reasonCode: 4, properties: { sessionExpiryInterval: 5 } }),
      wait(4000),
    ],
    [
      a.connect('al', { properties: { topicAliasMaximum: 5, receiveMaximum: 2, maximumPacketSize: 60 } }),
      a.packet({
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: [{ topic: 'al/#', qos: 2, nl: false, rap: false, rh: 1 }],
        properties: { subscriptionIdentifier: 7, userProperties: { a: 'b' } },
      }),
      // Larger than it accepts, at first and in the end.
      a.publish('al/0', 1, 9, { payload: 'x'.repeat(80) }),
      ...[1, 2, 3].map((id) => a.publish(id === 1 ? 'al/1' : '', 1, id, { properties: { topicAlias: 1 } })),
      a.publish('al/2', 0, 0, { properties: { topicAlias: 1, messageExpiryInterval: 1, contentType: 'x' } }),
      a.publish('al/3', 2, 4, { properties: { responseTopic: 'al/4', correlationData: Buffer.from('c') } }),
      a.publish('al/5', 1, 5, { payload: 'x'.repeat(80) }),
      a.ack('puback', 1),
      wait(1500),
      a.ack('puback', 2),
      a.ack('pubrec', 3),
    ],
    [
      a.connect('', { properties: { requestResponseInformation: true, requestProblemInformation: false } }),
      a.packet({ cmd: 'pubrel', messageId: 9, reasonCode: 0x92, properties: { reasonString: 'why' } }),
      a.packet({ cmd: 'pubrec', messageId: 8, reasonCode: 0x80, properties: { userProperties: { a: 'b' } } }),
      a.packet({
        cmd: 'subscribe',
        messageId: 1,
        subscriptions: [{ topic: 'x', qos: 1, nl: true, rap: true, rh: 2 }],
      }),
      a.publish('x', 1, 1, { properties: { payloadFormatIndicator: true, userProperties: { a: ['1', '2'] } } }),
      a.packet({ cmd: 'disconnect', reasonCode: 0x80 }),
    ],
  ]
}

/** Where the tests are run from is the root. */
export const corpusFolder = join('test', 'fuzz', 'corpus')
export const foundFolder = join('test', 'fuzz', 'found')

/** The scripts in a folder, by name; a file has one or more, with empty lines between. */
export function scriptsIn(folder: string): [name: string, script: Script][] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.txt'))
    .sort()
    .flatMap((name) =>
      readFileSync(join(folder, name), 'utf8')
        .split(/\n\n+/)
        .map((text, at): [string, Script] => [at === 0 ? name : `${name}, ${at + 1}`, parseScript(text)]),
    )
}

/** Everything that mutation starts from: by hand, and what the corpus has collected. */
export function scenes(): Script[] {
  return [...versions.flatMap(scenesOf), ...scenesOfFive(), ...scriptsIn(corpusFolder).map(([, script]) => script)]
}
