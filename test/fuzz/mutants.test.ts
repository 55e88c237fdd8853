import { expect, test } from 'vitest'
import { MessageRate } from '../../src/access/message-rates.ts'
import { ClientPermissions } from '../../src/access/permissions.ts'
import { Act } from '../../src/access/rules.ts'
import { Broker } from '../../src/broker/broker.ts'
import { Connection } from '../../src/mqtt/connection.ts'
import { PacketDecoder } from '../../src/mqtt/packets.ts'
import { Reader } from '../../src/mqtt/reader.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { SubscriptionTree } from '../../src/routing/tree.ts'
import { Ledger } from '../../src/sessions/ledger.ts'
import type { Session } from '../../src/sessions/session.ts'
import { DiskStore } from '../../src/store/disk-store.ts'
import { patch } from '../sim/patch.ts'
import { campaign } from './campaign.ts'
import { habits } from './habits.ts'

// Bugs that we plant, to see that the fuzzer finds them: each changes one method of the broker while it runs.

const mostFrames = 150_000

/** True once in `times` calls. */
function onceIn(times: number): () => boolean {
  let calls = 0
  return () => ++calls % times === 0
}

/** @param on the habit that it takes to see it; default: any */
const mutants: readonly (readonly [what: string, kind: RegExp, plant: () => () => void, on?: string])[] = [
  [
    'a length inside a packet is not checked',
    /a fault of ours/,
    () =>
      patch(
        Reader.prototype,
        'skipPrefixed',
        () =>
          function (this: Reader) {
            const length = this.u16()
            this.at += length
            return this.at - length
          },
      ),
  ],
  [
    'a decoder throws what is no refusal',
    /a fault of ours/,
    () =>
      patch(
        PacketDecoder.prototype,
        'subscribe',
        (decode) =>
          function (this: PacketDecoder, ...frame) {
            const packet = decode.apply(this, frame)
            if (packet.packetId > 255) throw new TypeError('an id of two bytes')
            return packet
          },
      ),
  ],
  [
    'what comes while a hook is asked is not held back',
    /wrong answers|a fault of ours|leak|sessions/,
    () => patch(Connection.prototype, 'hold', () => () => {}),
  ],
  [
    'the watchdog of a client that never came in is forgotten',
    /leak: \d+ connections/,
    () =>
      patch(
        Broker.prototype,
        'closed',
        (closed) =>
          function (this: Broker, from, fault) {
            if (from.session !== undefined) closed.call(this, from, fault)
          },
      ),
  ],
  [
    'a subscription stays in the tree',
    /leak|ledger/,
    () => {
      const skip = onceIn(100)
      return patch(
        SubscriptionTree.prototype,
        'unsubscribe',
        (unsubscribe) =>
          function (this: SubscriptionTree<Session>, ...entry) {
            return skip() ? false : unsubscribe.apply(this, entry)
          },
      )
    },
  ],
  [
    'a copy that did not fit is not counted',
    /ledger: copies/,
    () =>
      patch(
        Ledger.prototype,
        'lose',
        (lose) =>
          function (this: Ledger, loss, ...copy) {
            if (loss !== 'too-large') lose.call(this, loss, ...copy)
          },
      ),
  ],
  [
    'one topic is taken for another',
    /an honest pair|leak/,
    () => {
      const mistake = onceIn(500)
      return patch(
        TopicTable.prototype,
        'at',
        (at) =>
          function (this: TopicTable, ...place) {
            return mistake() ? this.named('t') : at.apply(this, place)
          },
      )
    },
  ],
  [
    'SUBACK leaves out the last code',
    /wrong answers/,
    () =>
      patch(
        Connection.prototype,
        'suback',
        (suback) =>
          function (this: Connection<Session>, packetId, granted, ...why) {
            suback.call(this, packetId, granted.length > 2 ? granted.slice(1) : granted, ...why)
          },
      ),
  ],
  [
    'what comes by a wildcard is not asked of',
    /rules/,
    () => patch(ClientPermissions.prototype, 'receivesAll', () => () => true),
    'with rules',
  ],
  [
    'to retain is allowed to whoever may publish',
    /rules/,
    () =>
      patch(
        ClientPermissions.prototype,
        'may',
        (may) =>
          function (this: ClientPermissions, actions, topic) {
            return may.call(this, actions & ~Act.retain, topic)
          },
      ),
    'with rules',
  ],
  ['nobody pays for a message', /rates/, () => patch(MessageRate.prototype, 'take', () => () => true), 'with rates'],
  [
    'a subscription is not written down',
    /a restart/,
    () => {
      const skip = onceIn(20)
      return patch(
        DiskStore.prototype,
        'subscribed',
        (subscribed) =>
          function (this: DiskStore, ...entry) {
            return skip() ? 0 : subscribed.apply(this, entry)
          },
      )
    },
    'on a disk',
  ],
  [
    'the end of a session is not written down',
    /a restart/,
    () => {
      const skip = onceIn(20)
      return patch(
        DiskStore.prototype,
        'ended',
        (ended) =>
          function (this: DiskStore, session) {
            return skip() ? 0 : ended.call(this, session)
          },
      )
    },
    'on a disk',
  ],
]

for (const [what, kind, plant, on] of mutants)
  test(`${what}: found`, async () => {
    const undo = plant()
    try {
      const { found } = await campaign({
        frames: mostFrames,
        seed: 1,
        kinds: habits.filter(({ name }) => on === undefined || name === on),
      })
      expect(found?.finding.message).toMatch(kind)
    } finally {
      undo()
    }
  }, 120_000)
