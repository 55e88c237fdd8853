import { expect, test } from 'vitest'
import { AckGate } from '../../src/broker/gate.ts'
import { Message } from '../../src/mqtt/message.ts'
import { Output, Pages } from '../../src/mqtt/output.ts'
import { Sender } from '../../src/mqtt/sender.ts'
import { RetainedStore } from '../../src/retain/retained.ts'
import { Copy } from '../../src/routing/delivery.ts'
import { SubscriptionTree } from '../../src/routing/tree.ts'
import { Ledger } from '../../src/sessions/ledger.ts'
import { Outbox } from '../../src/sessions/outbox.ts'
import { Session } from '../../src/sessions/session.ts'
import { Sessions } from '../../src/sessions/sessions.ts'
import { TimingWheel } from '../../src/sessions/wheel.ts'
import { patch } from './patch.ts'
import { runSeed } from './seeds.ts'

// Bugs that we plant, to see that the simulation finds them: each changes one method of the broker while it runs.

const mostSeeds = 200

/** True once in `times` calls. */
function onceIn(times: number): () => boolean {
  let calls = 0
  return () => ++calls % times === 0
}

/** Those of the world at hand. */
let sessions: Sessions
patch(
  Sessions.prototype,
  'open',
  (open) =>
    function (this: Sessions, ...client) {
      // eslint-disable-next-line @typescript-eslint/no-this-alias
      sessions = this
      return open.apply(this, client)
    },
)

const mutants: readonly (readonly [what: string, rule: RegExp, plant: () => () => void])[] = [
  [
    'an acknowledgement leaves before its record is durable',
    /ack before durable: (puback|pubrec|PUBCOMP)/,
    () => patch(AckGate.prototype, 'open', () => () => true),
  ],
  [
    'an acknowledgement overtakes another',
    /acks in order/,
    () =>
      patch(
        AckGate.prototype,
        'open',
        (open) =>
          function (this: AckGate, client, lsn) {
            const { heldAcks } = client
            client.heldAcks = 0
            const may = open.call(this, client, lsn)
            client.heldAcks = heldAcks
            return may
          },
      ),
  ],
  [
    'a QoS 2 message that was seen is forgotten',
    /exactly once/,
    () => patch(Session.prototype, 'received', () => () => undefined),
  ],
  [
    'every 50th copy vanishes, and is counted as delivered',
    /QoS [12] lost/,
    () => {
      const drop = onceIn(50)
      return patch(
        Session.prototype,
        'deliver',
        (deliver) =>
          function (this: Session, ...copy) {
            if (!drop()) return deliver.apply(this, copy)
            sessions.ledger.copies++
            sessions.ledger.delivered++
            return false
          },
      )
    },
  ],
  [
    'every 20th copy comes behind the next one',
    /MQTT-4.6.0-5/,
    () => {
      const hold = onceIn(20)
      const held = new Map<Sender, Parameters<Sender['send']>>()
      return patch(
        Sender.prototype,
        'send',
        (send) =>
          function (this: Sender, ...copy) {
            const before = held.get(this)
            const [message, qos] = copy
            if (before === undefined && qos > 0 && hold()) {
              message.keep(sessions.slab)
              held.set(this, copy)
              return true
            }
            const fits = send.apply(this, copy)
            held.delete(this)
            if (before) send.apply(this, before)
            return fits
          },
      )
    },
  ],
  [
    'what is sent again has no DUP flag',
    /MQTT-3.3.1-1/,
    () =>
      patch(
        Sender.prototype,
        'send',
        (send) =>
          function (this: Sender, message, qos, retain, _dup, packetId, ids) {
            return send.call(this, message, qos, retain, false, packetId, ids)
          },
      ),
  ],
  ['what was in flight is not sent again', /rest/, () => patch(Outbox.prototype, 'resume', () => () => {})],
  [
    'packet ids are used again at once',
    /packet id in use/,
    () =>
      patch(
        Sender.prototype,
        'send',
        (send) =>
          function (this: Sender, message, qos, retain, dup, packetId, ids) {
            return send.call(this, message, qos, retain, dup, packetId && 1 + (packetId % 3), ids)
          },
      ),
  ],
  [
    'an UNSUBSCRIBE changes nothing',
    /not subscribed/,
    () =>
      patch(
        SubscriptionTree.prototype,
        'unsubscribe',
        (unsubscribe) =>
          function (this: SubscriptionTree<Session>, session: Session, filter) {
            return session.online || unsubscribe.call(this, session, filter)
          },
      ),
  ],
  [
    'a retained message cannot be cleared',
    /not subscribed: .* as retained/,
    () => patch(RetainedStore.prototype, 'clear', () => () => false),
  ],
  [
    'every fifth new subscription gets no retained messages',
    /retained message lost/,
    () => {
      const forget = onceIn(5)
      return patch(
        Session.prototype,
        'feed',
        (feed) =>
          function (this: Session, ...wish) {
            if (!forget()) feed.apply(this, wish)
          },
      )
    },
  ],
  [
    'a loss is not counted',
    /ledger/,
    () => {
      const forget = onceIn(10)
      return patch(
        Ledger.prototype,
        'lose',
        (lose) =>
          function (this: Ledger, ...loss) {
            if (!forget()) lose.apply(this, loss)
          },
      )
    },
  ],
  [
    'an acknowledged copy is counted twice',
    /ledger/,
    () => {
      const twice = onceIn(20)
      return patch(
        Session.prototype,
        'puback',
        (puback) =>
          function (this: Session, ...ack) {
            if (twice()) sessions.ledger.delivered++
            return puback.apply(this, ack)
          },
      )
    },
  ],
  ['no local is ignored', /not subscribed/, () => maskGrants(~4)],
  ['retain as published is ignored', /MQTT-3.3.1-13/, () => maskGrants(~8)],
  ['retain as published is always on', /not subscribed: .* as retained/, () => maskGrants(~0, 8)],
  ['subscription ids are lost', /MQTT-3.3.4-3/, () => maskGrants(15)],
  ['QoS 2 is delivered as QoS 1', /MQTT-3.3.4-2/, () => maskGrants(~3, 1)],
  [
    'each message of a shared group goes to two',
    /MQTT-4.8.2-4/,
    () =>
      patch(
        SubscriptionTree.prototype,
        'match',
        (match) =>
          function (this: SubscriptionTree<Session>, topic) {
            const { version, deliveries, groups } = match.call(this, topic)
            return { version, deliveries, groups: [...groups, ...groups] }
          },
      ),
  ],
  [
    'pages are used by two at once',
    /payload|codec|acks in order/,
    () => {
      const page = Buffer.alloc(2048)
      return patch(
        Pages.prototype,
        'take',
        (take) =>
          function (this: Pages, large) {
            const own = take.call(this, large)
            return large ? own : page
          },
      )
    },
  ],
  ['pages are not given back', /pages lent/, () => patch(Pages.prototype, 'give', () => () => {})],
  [
    'a will fires in spite of a goodbye',
    /MQTT-3.14.4-3/,
    () =>
      patch(
        Sessions.prototype,
        'detach',
        (detach) =>
          function (this: Sessions, session) {
            detach.call(this, session, true)
          },
      ),
  ],
  [
    'a will does not fire',
    /will lost/,
    () =>
      patch(
        Sessions.prototype,
        'detach',
        (detach) =>
          function (this: Sessions, session) {
            detach.call(this, session, false)
          },
      ),
  ],
  [
    'a session ends with its connection',
    /session lost/,
    () =>
      patch(
        Sessions.prototype,
        'detach',
        (detach) =>
          function (this: Sessions, session, withWill) {
            session.expire(0)
            detach.call(this, session, withWill)
          },
      ),
  ],
  ['a session never ends', /leak/, () => patch(TimingWheel.prototype, 'advance', () => () => {})],
  [
    'the receive maximum of a client is ignored',
    /MQTT-3.3.4-9/,
    () =>
      patch(
        Session.prototype,
        'attach',
        (attach) =>
          function (this: Session, connection) {
            attach.call(this, connection, 65_535)
          },
      ),
  ],
  [
    'what has expired is sent all the same',
    /MQTT-3.3.2-5/,
    () => {
      const undo = [
        patch(
          Outbox.prototype,
          'pump',
          (pump) =>
            function (this: Outbox, outlet) {
              return pump.call(this, outlet, 0)
            },
        ),
        patch(Outbox.prototype, 'expire', () => () => {}),
      ]
      return () => {
        for (const one of undo) one()
      }
    },
  ],
  [
    'time to live is not counted down',
    /MQTT-3.3.2-6/,
    () => patch(Message.prototype, 'expirySecondsLeft', () => () => 100),
  ],
  [
    'an acknowledgement throws once in a while',
    /error log/,
    () => {
      const fail = onceIn(30)
      return patch(
        Session.prototype,
        'pubcomp',
        (pubcomp) =>
          function (this: Session, id) {
            if (fail()) throw new TypeError('planted')
            return pubcomp.call(this, id)
          },
      )
    },
  ],
  [
    'the broker goes on writing to a stream that it has ended',
    /the broker wrote/,
    () =>
      patch(
        Output.prototype,
        'end',
        (end) =>
          function (this: Output) {
            end.call(this)
            this.short(0xd0, 0)
          },
      ),
  ],
]

// Found means: for the right reason, in one of so many seeds.
test.each(mutants)('found: %s', (_what, rule, plant) => {
  const undo = plant()
  const blamed: string[] = []
  try {
    for (let seed = 0; seed < mostSeeds && !rule.test(blamed.at(-1) ?? ''); seed++)
      try {
        runSeed(seed)
      } catch (fault) {
        blamed.push(`seed ${seed}: ${String(fault)}`)
      }
  } finally {
    undo()
  }
  expect(blamed.at(-1) ?? `nothing in ${mostSeeds} seeds`).toMatch(rule)
})

/** Changes the bits of every grant (`packGrant`): QoS, no local 4, retain as published 8, subscription id from 16. */
function maskGrants(keep: number, set = 0): () => void {
  return patch(
    Copy.prototype,
    'add',
    (add) =>
      function (this: Copy<unknown>, packed) {
        return add.call(this, (packed & keep) | set)
      },
  )
}
