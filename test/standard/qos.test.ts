import { expect } from 'vitest'
import { Message } from '../../src/mqtt/message.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { Topic } from '../../src/mqtt/topic.ts'
import { Ledger } from '../../src/sessions/ledger.ts'
import { Outbox } from '../../src/sessions/outbox.ts'
import type { Outlet } from '../../src/sessions/outlet.ts'
import { startBroker, type TestBroker } from '../support/broker.ts'
import type { Received } from '../support/raw.ts'
import { covers } from './covering.ts'
import {
  acknowledge,
  closes,
  eachRow,
  hasten,
  hears,
  join,
  joinKept,
  publishEach,
  publishes,
  settle,
  told,
} from './kit.ts'
import { block, hex, packet, text, transports, u16, type Version, versions } from './wire.ts'
import { outboxContext } from '../sessions/outbox-context.ts'

const idOf = (received: Received) => received.messageId as number

/** A subscriber to `t` at QoS 2 whose session is kept, and a publisher. */
async function pair(broker: TestBroker, version: Version, properties: Record<string, unknown> = {}) {
  // TCP to one side, WebSocket to the other.
  const sub = await joinKept(broker, `sub${version}`, version, properties, transports[version % 2])
  await sub.subscribe('t', 2)
  return { sub, pub: await join(broker, `pub${version}`, version, {}, transports[(version + 1) % 2]) }
}

// ── the broker receives ─────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Steps of a publisher, each answered before the next: `1 4 x` and `2 4 x` publish x at that QoS under id 4 (`dup`: with
 * the flag), `rel 4` releases, `rel 4 unknown` must be told that there was nothing, `again` drops the connection and
 * comes back.
 */
async function play(broker: TestBroker, version: Version, steps: readonly string[]): Promise<void> {
  const connect = () => joinKept(broker, 'pub', version, {}, transports[version % 2])
  let pub = await connect()
  for (const step of steps) {
    const [what, id, payload, dup] = step.split(' ')
    const messageId = Number(id)
    if (what === 'again') {
      await pub.drop()
      pub = await connect()
      continue
    }
    if (what === 'rel') pub.send({ cmd: 'pubrel', messageId })
    else pub.publish('t', payload, { qos: Number(what), messageId, dup: dup === 'dup' })
    const answer = await pub.expect(what === 'rel' ? 'pubcomp' : what === '1' ? 'puback' : 'pubrec')
    expect(answer.messageId, step).toBe(messageId)
    if (version === 5) expect(answer.reasonCode, step).toBe(payload === 'unknown' ? Reason.packetIdNotFound : 0)
  }
  await pub.expectQuiet()
  await pub.disconnect(0, version === 5 ? { sessionExpiryInterval: 0 } : {})
  if (version !== 5) await (await join(broker, 'pub', version)).disconnect()
}

covers(
  [
    '5:MQTT-4.3.2-5',
    '5:MQTT-4.3.3-10',
    '5:MQTT-4.3.3-12',
    '5:MQTT-3.6.2-1',
    '5:MQTT-3.7.2-1',
    '3.1.1:MQTT-4.3.2-2',
    '3.1.1:MQTT-4.3.3-2',
  ],
  'the broker takes each message as often as its QoS says, whatever comes again',
  async () => {
    const broker = await startBroker()
    const sub = await join(broker, 'sub')
    await sub.subscribe('t', 0)
    for (const version of versions)
      await eachRow(
        [
          ['QoS 1 again is new', ['1 4 a', '1 4 b', '1 4 c dup'], 'abc'],
          ['QoS 2 once', ['2 4 a', 'rel 4'], 'a'],
          ['QoS 2 again before PUBREL', ['2 4 a', '2 4 a dup', '2 4 a dup', 'rel 4'], 'a'],
          ['without the flag too', ['2 4 a', '2 4 b', 'rel 4'], 'a'],
          ['after PUBCOMP it is new', ['2 4 a', 'rel 4', '2 4 b', 'rel 4'], 'ab'],
          ['with the flag too', ['2 4 a', 'rel 4', '2 4 b dup', 'rel 4'], 'ab'],
          ['DUP that never came before', ['2 4 a dup', 'rel 4'], 'a'],
          [
            'ids do not mix',
            ['2 1 a', '2 2 b', '2 1 a dup', 'rel 2', '2 2 c', 'rel 1', '2 1 d', 'rel 2', 'rel 1'],
            'abcd',
          ],
          ['the ends of the range', ['2 65535 a', '2 1 b', '2 65535 a dup', 'rel 65535', 'rel 1'], 'ab'],
          ['PUBREL again', ['2 4 a', 'rel 4', 'rel 4 unknown', 'rel 4 unknown'], 'a'],
          ['PUBREL of nothing', ['rel 9 unknown'], ''],
          ['PUBREL of a QoS 1 id', ['1 4 a', 'rel 4 unknown'], 'a'],
          ['again on another connection', ['2 4 a', 'again', '2 4 a dup', 'rel 4'], 'a'],
          ['PUBREL on another connection', ['2 4 a', 'again', 'rel 4', '2 4 b', 'rel 4'], 'ab'],
          ['PUBREL on both', ['2 4 a', 'rel 4', 'again', 'rel 4 unknown', '2 4 b'], 'ab'],
        ] as const,
        async (_, steps, heard) => {
          await play(broker, version, steps)
          expect((await publishes(sub, heard.length)).map(({ payload }) => String(payload)).join('')).toBe(heard)
          await sub.expectQuiet()
        },
      )
  },
)

covers(['5:MQTT-4.3.3-13'], 'QoS 2 goes on with a message that has expired', async () => {
  const broker = await startBroker()
  const pub = await joinKept(broker, 'pub')
  const expiring = { qos: 2, messageId: 4, properties: { messageExpiryInterval: 1 } }
  pub.publish('t', 'x', expiring)
  await pub.expect('pubrec')
  hasten(5)
  pub.publish('t', 'x', { ...expiring, dup: true })
  expect((await pub.expect('pubrec')).messageId).toBe(4)
  pub.send({ cmd: 'pubrel', messageId: 4 })
  expect((await pub.expect('pubcomp')).reasonCode).toBe(0)
})

// ── the broker sends ────────────────────────────────────────────────────────────────────────────────────────────────

covers(
  [
    '5:MQTT-2.2.1-4',
    '5:MQTT-4.3.2-1',
    '5:MQTT-4.3.2-3',
    '5:MQTT-4.3.3-1',
    '5:MQTT-4.3.3-3',
    '5:MQTT-4.4.0-1',
    '5:MQTT-3.3.1-1',
    '3.1.1:MQTT-3.3.1-1',
    '3.1.1:MQTT-2.3.1-4',
    '3.1.1:MQTT-4.3.2-1',
    '3.1.1:MQTT-4.4.0-1',
    '3.1.1:MQTT-4.6.0-1',
  ],
  'what a client has not acknowledged comes again on its next connection: in order, DUP, same ids, and only then',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const { sub, pub } = await pair(broker, version)
      const messages = [...'abcdefgh'].map((payload, at) => [payload, 1 + (at % 2)] as const)
      await publishEach(pub, messages)
      const first = await publishes(sub, 8)
      expect(first.map(told)).toEqual(messages.map(([payload, qos]) => `t=${payload} q${qos}`))
      expect(new Set(first.map(idOf)).size).toBe(8)
      expect(first.map(idOf)).not.toContain(0)
      // Not while it is connected, however long it takes and whatever else goes on.
      hasten(100)
      await publishEach(pub, [['i', 1]])
      const ninth = await sub.expect('publish')
      expect(told(ninth)).toBe('t=i q1')
      await acknowledge(sub, ninth)
      await acknowledge(sub, first[3]!)
      await acknowledge(sub, first[4]!)
      await sub.expectQuiet()
      const left = first.filter((_, at) => at !== 3 && at !== 4)
      // Twice, as nothing of it is acknowledged the first time.
      for (let i = 0; i < 2; i++) {
        const back = await joinKept(broker, `sub${version}`, version)
        const again = await publishes(back, 6)
        expect(again.map(told)).toEqual(left.map((received) => `${told(received)} dup`))
        expect(again.map(idOf)).toEqual(left.map(idOf))
        await back.expectQuiet()
        if (i === 1) for (const received of again) await acknowledge(back, received)
        await back.disconnect()
      }
      const done = await joinKept(broker, `sub${version}`, version)
      await done.expectQuiet()
    }
  },
)

covers(
  ['5:MQTT-4.3.3-4', '5:MQTT-4.3.3-5', '5:MQTT-4.3.3-6', '5:MQTT-3.3.4-10', '3.1.1:MQTT-4.3.3-1', '3.1.1:MQTT-4.4.0-1'],
  'PUBREL follows PUBREC and is sent again until PUBCOMP; its PUBLISH never is',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const { sub, pub } = await pair(broker, version)
      await publishEach(pub, [
        ['a', 2],
        ['b', 2],
        ['c', 1],
        ['d', 2],
      ])
      const sent = await publishes(sub, 4)
      const [a, b, c, d] = sent.map(idOf)
      for (const messageId of [b, d, a]) {
        sub.send({ cmd: 'pubrec', messageId: messageId! })
        expect(idOf(await sub.expect('pubrel'))).toBe(messageId)
      }
      // A PUBREC again gets its PUBREL again.
      sub.send({ cmd: 'pubrec', messageId: d! })
      expect(idOf(await sub.expect('pubrel'))).toBe(d)
      sub.send({ cmd: 'pubcomp', messageId: a! })
      await sub.expectQuiet()
      // The smallest window holds PUBLISH back, never PUBREL.
      for (const properties of [{}, { receiveMaximum: 1 }]) {
        const back = await joinKept(broker, `sub${version}`, version, properties)
        const again = [await back.expect('pubrel'), await back.expect('pubrel')]
        expect(again.map(idOf)).toEqual([b, d])
        for (const { raw } of again) expect(raw.toString('hex')).toMatch(/^6202....$/)
        if (!('receiveMaximum' in properties) || version !== 5) expect(await hears(back, 1)).toEqual(['t=c q1 dup'])
        await back.expectQuiet()
        await back.disconnect()
      }
      const last = await joinKept(broker, `sub${version}`, version)
      for (const messageId of [b, d]) {
        expect(idOf(await last.expect('pubrel'))).toBe(messageId)
        last.send({ cmd: 'pubcomp', messageId: messageId! })
      }
      const resent = await last.expect('publish')
      expect([told(resent), idOf(resent)]).toEqual(['t=c q1 dup', c])
      await acknowledge(last, resent)
      await last.disconnect()
      await (await joinKept(broker, `sub${version}`, version)).expectQuiet()
    }
  },
)

covers(['5:MQTT-4.3.3-7'], 'a message that has been sent does not expire', async () => {
  const broker = await startBroker()
  const { sub, pub } = await pair(broker, 5)
  for (const [qos, messageId] of [
    [2, 1],
    [1, 2],
  ])
    pub.publish('t', `q${qos}`, { qos, messageId, properties: { messageExpiryInterval: 1 } })
  await publishes(sub, 2)
  await sub.drop()
  hasten(5)
  const back = await joinKept(broker, 'sub5')
  expect(await hears(back, 2)).toEqual(['t=q2 q2 dup', 't=q1 q1 dup'])
  expect(broker.node.broker.ledger.lost.expired).toBe(0)
})

covers(
  ['5:MQTT-4.4.0-2', '5:MQTT-4.8.2-6'],
  'a message that the client refuses is done with, and counted',
  async () => {
    const broker = await startBroker()
    const { sub, pub } = await pair(broker, 5)
    const reasons = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
    for (const reasonCode of reasons)
      for (const [qos, cmd] of [
        [1, 'puback'],
        [2, 'pubrec'],
      ] as const) {
        await publishEach(pub, [['x', qos]])
        sub.send({ cmd, messageId: idOf(await sub.expect('publish')), reasonCode, properties: { reasonString: 'no' } })
        await sub.expectQuiet()
      }
    expect(broker.node.broker.ledger.lost['refused-by-client']).toBe(2 * reasons.length)
    expect(broker.node.broker.pending).toBe(0)
    await sub.drop()
    await (await joinKept(broker, 'sub5')).expectQuiet()
  },
)

covers(['5:MQTT-3.4.2-1', '5:MQTT-3.5.2-1'], 'PUBACK and PUBREC in every form end a message', async () => {
  const broker = await startBroker()
  const { sub, pub } = await pair(broker, 5)
  const explained = block(0x1f, 'so so', 0x26, 'n', 'v', 0x26, 'n', 'v')
  await eachRow(
    [
      ['no reason', []],
      ['a reason', [0]],
      ['no matching subscribers', [0x10]],
      ['a reason and no properties', [0, 0]],
      ['a reason that is explained', [0x10, explained]],
    ] as const,
    async (_, parts) => {
      await publishEach(pub, [
        ['x', 1],
        ['y', 2],
      ])
      const [one, two] = (await publishes(sub, 2)).map((received) => u16(idOf(received)))
      const end = parts[0] === 0x10 ? [0x92, ...parts.slice(1)] : parts
      sub.bytes(packet(0x40, one!, ...parts)).bytes(packet(0x50, two!, ...parts))
      expect((await sub.expect('pubrel')).raw.toString('hex')).toBe(`6202${two!.toString('hex')}`)
      sub.bytes(packet(0x70, two!, ...end))
      await sub.expectQuiet()
      expect(broker.node.broker.pending).toBe(0)
    },
  )
})

covers(
  ['5:MQTT-3.6.2-1', '5:MQTT-3.6.2-2', '5:MQTT-3.6.2-3', '5:MQTT-3.7.2-2', '5:MQTT-3.7.2-3', '3.1.1:MQTT-2.3.1-6'],
  'an acknowledgement of nothing is answered, bare, and does no harm',
  async () => {
    const broker = await startBroker()
    for (const version of versions) {
      const { sub, pub } = await pair(broker, version)
      const reason = version === 5 ? '92' : ''
      const length = version === 5 ? '03' : '02'
      await eachRow(
        [
          ['PUBACK of nothing', 'puback', 77, ''],
          ['PUBREC of nothing', 'pubrec', 77, `62${length}004d${reason}`],
          ['PUBREL of nothing', 'pubrel', 77, `70${length}004d${reason}`],
          ['PUBCOMP of nothing', 'pubcomp', 77, ''],
        ] as const,
        async (_, cmd, messageId, answer) => {
          sub.send({ cmd, messageId })
          if (answer)
            expect((await sub.expect(cmd === 'pubrec' ? 'pubrel' : 'pubcomp')).raw.toString('hex')).toBe(answer)
          await sub.expectQuiet()
        },
      )
      // Of the wrong kind for what is in flight: that stays in flight.
      await publishEach(pub, [
        ['a', 1],
        ['b', 2],
      ])
      const [a, b] = (await publishes(sub, 2)).map(idOf)
      sub.send({ cmd: 'pubrec', messageId: a! })
      expect((await sub.expect('pubrel')).raw.toString('hex')).toMatch(version === 5 ? /92$/ : /^6202/)
      sub.send({ cmd: 'puback', messageId: b! }).send({ cmd: 'pubcomp', messageId: b! })
      sub.send({ cmd: 'pubcomp', messageId: a! })
      await sub.expectQuiet()
      await sub.drop()
      expect(await hears(await joinKept(broker, `sub${version}`, version), 2)).toEqual(['t=a q1 dup', 't=b q2 dup'])
    }
  },
)

covers(
  ['5:MQTT-3.6.1-1', '3.1.1:MQTT-3.6.1-1', '3.1.1:MQTT-4.8.0-1'],
  'an acknowledgement that is malformed closes the connection',
  async () => {
    const id = u16(7)
    await closes(versions, [
      ...[0x60, 0x61, 0x63, 0x64, 0x66, 0x6f].map((first) => [`PUBREL ${first}`, packet(first, id), 0x81] as const),
      ...[0x41, 0x48, 0x52, 0x58, 0x72, 0x7f].map((first) => [`flags ${first}`, packet(first, id), 0x81] as const),
      ...[0x40, 0x50, 0x62, 0x70].flatMap(
        (first) =>
          [
            [`${first} without an id`, packet(first), 0x81],
            [`${first} with half an id`, packet(first, 7), 0x81],
            [`${first} with id 0`, packet(first, u16(0)), 0x82],
          ] as const,
      ),
    ])
    await closes([4, 5], [['PUBREL with DUP', packet(0x6a, id), 0x81]])
    await closes(
      [3, 4],
      [0x40, 0x50, 0x62, 0x70].map((first) => [`${first} and more`, packet(first, id, 0), 0x81] as const),
    )
    const wrong = [
      ['an impossible reason', [0x01], 0x82],
      ['a reason of another packet', [0x9e], 0x82],
      ['a property length beyond the packet', [0, 5], 0x81],
      ['bytes behind the properties', [0, 0, 0], 0x81],
      ['a property of PUBLISH', [0, block(0x01, 1)], 0x81],
      ['two reason strings', [0, block(0x1f, 'a', 0x1f, 'b')], 0x82],
      ['a reason string of bad UTF-8', [0, block(0x1f, text(hex('ff')))], 0x81],
      ['a user property without a value', [0, block(0x26, 'n')], 0x81],
    ] as const
    await closes(
      [5],
      [0x40, 0x50, 0x62, 0x70].flatMap((first) =>
        wrong.map(([what, parts, reason]) => [`${first}: ${what}`, packet(first, id, ...parts), reason] as const),
      ),
    )
    await closes(
      [5],
      [
        ['PUBACK 0x92', packet(0x40, id, 0x92), 0x82],
        ['PUBREC 0x92', packet(0x50, id, 0x92), 0x82],
        ['PUBREL 0x10', packet(0x62, id, 0x10), 0x82],
        ['PUBREL 0x80', packet(0x62, id, 0x80), 0x82],
        ['PUBCOMP 0x80', packet(0x70, id, 0x80), 0x82],
      ],
    )
  },
)

// MQTT 3.1 let a PUBREL that is sent again carry DUP.
covers(['3.1.1:MQTT-4.3.3-2'], 'an MQTT 3.1 client may set DUP in PUBREL', async () => {
  const broker = await startBroker()
  const pub = await join(broker, 'pub', 3)
  pub.publish('t', 'x', { qos: 2, messageId: 7 })
  await pub.expect('pubrec')
  for (const first of [0x62, 0x6a]) {
    pub.bytes(packet(first, u16(7)))
    expect(idOf(await pub.expect('pubcomp'))).toBe(7)
  }
})

// ── packet ids, by the thousand ─────────────────────────────────────────────────────────────────────────────────────

/** An outbox and what it has put on the wire; `sent` holds ids that are out. */
function outboxOf(window: number) {
  const ids: number[] = []
  const outlet: Outlet = {
    congested: false,
    send: (_message, _qos, _retain, _dup, packetId) => ids.push(packetId) > 0,
    pubrel: () => {},
  }
  const ledger = new Ledger()
  const outbox = new Outbox(
    { clientId: 'client', number: 0 },
    outboxContext({ queueMessages: 100_000, queueBytes: 2 ** 30 }, ledger),
  )
  outbox.resume(window, outlet)
  const payload = new Uint8Array(0)
  const message = new Message(new Topic('t', payload), 1, false, payload, 0, 0, undefined, Infinity, undefined, 5)
  const push = (qos: 1 | 2) => outbox.push(message, qos, false, { subscriptionIds: undefined }, false, outlet)
  return { outbox, outlet, ids, push }
}

covers(
  ['5:MQTT-2.2.1-4', '3.1.1:MQTT-2.3.1-4'],
  'a packet id is free again when its message is done, and not before',
  () => {
    const { outbox, ids, push } = outboxOf(10)
    const out = new Set<number>()
    for (let i = 0; i < 200_000; i++) {
      const qos = i % 3 === 0 ? 2 : 1
      push(qos)
      const id = ids.pop()!
      if (id < 1 || id > 65_535 || out.has(id)) throw new Error(`message ${i} went out under ${id}`)
      out.add(id)
      // The last ten are out; they end in an order of their own.
      if (out.size < 10) continue
      const ends = [...out][i % 10]!
      if (!outbox.puback(ends, 0)) expect([outbox.pubrec(ends, 0), outbox.pubcomp(ends)]).toEqual([0, true])
      out.delete(ends)
    }
    expect(outbox.unacked).toBe(9)
  },
)

covers(['5:MQTT-2.2.1-4', '3.1.1:MQTT-2.3.1-4'], 'a message that is never acknowledged keeps its id for itself', () => {
  const { outbox, outlet, ids, push } = outboxOf(10)
  push(1)
  const [kept] = ids
  for (let i = 0; i < 70_000; i++) {
    push(1)
    const id = ids.pop()!
    if (id !== kept) outbox.puback(id, 0)
    else if (outbox.waiting === 0) throw new Error(`id ${kept} was used twice`)
  }
  // All other ids have had their turn; what is left waits for the one.
  expect(outbox.waiting).toBe(70_000 - 65_533)
  ids.length = 0
  expect(outbox.puback(kept!, 0)).toBe(true)
  outbox.pump(outlet, 0)
  expect(ids).toHaveLength(10)
})

covers(['5:MQTT-4.3.2-3', '5:MQTT-4.3.3-3'], 'a clean session is sent nothing again', async () => {
  const broker = await startBroker()
  for (const version of versions) {
    const sub = await join(broker, 'sub', version)
    await sub.subscribe('t', 2)
    const pub = await join(broker, 'pub', version)
    await publishEach(pub, [
      ['a', 1],
      ['b', 2],
    ])
    await publishes(sub, 2)
    const back = await join(broker, 'sub', version)
    await back.subscribe('t', 2)
    await settle(pub)
    await back.expectQuiet()
  }
  expect(broker.node.broker.pending).toBe(0)
})
