import { expect, test } from 'vitest'
import { Broker } from '../../../src/broker/broker.ts'
import { AckGate } from '../../../src/broker/gate.ts'
import { StandIn } from '../../../src/cluster/arriving.ts'
import { Claims } from '../../../src/cluster/claims.ts'
import { ClusterNode } from '../../../src/cluster/cluster.ts'
import { Forwarding } from '../../../src/cluster/forwarding.ts'
import { Incoming } from '../../../src/cluster/incoming.ts'
import { Link } from '../../../src/cluster/link.ts'
import { PublishReader } from '../../../src/cluster/publish-frame.ts'
import { Remembered } from '../../../src/cluster/remembered.ts'
import { OutStream } from '../../../src/cluster/streams.ts'
import { RetainedStore } from '../../../src/retain/retained.ts'
import { Sessions } from '../../../src/sessions/sessions.ts'
import type { Durability } from '../../../src/store/port.ts'
import { patch } from '../patch.ts'
import type { Habits } from './crowd.ts'
import { runTown, shapes } from './seeds.ts'

// Bugs that we plant in forwarding, links, handover, expiry, durability and evicting, to see that the simulation finds them: each changes one method while
// it runs.

const mostSeeds = 2000
const falling = { fall: 25, publish: 70 }
const expiring = { move: 6, fall: 10, expires: 60 }
const classes = { fall: 25, publish: 70, classes: true }
const draining = { move: 6, leave: 12, drain: 6, wills: 80, publish: 20 }
const evicting = { move: 4, fall: 4, evict: 6 }
const [forwarding, moving] = shapes as [Partial<Habits>, Partial<Habits>]

/** A bug, how it shows, in which worlds, and from which seed on it is looked for: it is found soon. */
type Mutant = readonly [what: string, rule: RegExp, habits: Partial<Habits>, plant: () => () => void, from?: number]

const mutants: readonly Mutant[] = [
  [
    'an acknowledgement does not wait for the word of the peer',
    /QoS [12] lost|group missed/,
    forwarding,
    () =>
      patch(
        OutStream.prototype,
        'push',
        (push) =>
          function (this: OutStream, message, terms, stored, linked) {
            return push.call(this, message, terms, stored, linked, undefined)
          },
      ),
  ],
  [
    'a peer gives its word before anything is durable',
    /QoS [12] lost|group missed/,
    forwarding,
    () =>
      patch(
        Broker.prototype,
        'arrive',
        (arrive) =>
          function (this: Broker, ...arrival) {
            arrive.apply(this, arrival)
            return 0
          },
      ),
  ],
  [
    'a queue for another node is forgotten at a start',
    /QoS [12] lost|group missed|leak: \d+ streams/,
    forwarding,
    () =>
      patch(
        Forwarding.prototype,
        'restore',
        (restore) =>
          function (this: Forwarding, sessions) {
            restore.call(
              this,
              sessions.filter(({ clientId }) => !clientId.startsWith('\0out/')),
            )
          },
      ),
  ],
  [
    'a new link goes on behind what was sent on the last one',
    /QoS [12] lost|rest/,
    forwarding,
    () => patch(OutStream.prototype, 'resume', () => () => {}),
  ],
  [
    'of what was sent on the last link the first one is not sent again',
    /QoS [12] lost/,
    forwarding,
    () =>
      patch(
        OutStream.prototype,
        'resume',
        (resume) =>
          function (this: OutStream) {
            const { outbox } = this
            if (outbox.next - outbox.head > 1) outbox.drop(outbox.head, 'offline')
            resume.call(this)
          },
      ),
  ],
  [
    'ids of what has come are forgotten at a start',
    /exactly once/,
    falling,
    () =>
      patch(
        Incoming.prototype,
        'restore',
        (restore) =>
          function (this: Incoming, id, recovered) {
            restore.call(this, id, { ...recovered, incoming: [] })
          },
      ),
  ],
  ['credit is never renewed', /QoS [012] lost|rest/, forwarding, () => patch(Link.prototype, 'sign', () => () => {})],
  [
    'SUBACK does not wait for the others',
    /QoS [12] lost/,
    { publish: 50, subscribe: 40 },
    () => patch(ClusterNode.prototype, 'barrier', () => () => undefined),
  ],
  [
    'a session comes without a fence behind it',
    /QoS [12] lost|order|DUP|once/,
    moving,
    () => patch(Forwarding.prototype, 'fence', () => (_node, _extent, then) => then(true, 0)),
  ],
  [
    'what comes while a session is on its way is dropped',
    /QoS [12] lost/,
    moving,
    () => patch(StandIn.prototype, 'deliver', () => () => false),
  ],
  [
    'the old node keeps the session that it has handed over',
    /rest|exactly once|DUP/,
    moving,
    () => patch(Sessions.prototype, 'handOver', () => () => {}),
  ],
  [
    'a session keeps its epoch as it moves',
    /two owners|rest|session lost/,
    moving,
    () =>
      patch(
        Sessions.prototype,
        'adopt',
        (adopt) =>
          function (this: Sessions, session) {
            session.epoch -= 2 ** 24
            return adopt.call(this, session)
          },
      ),
  ],
  [
    'nobody is told whose a session is',
    /session lost|rest/,
    moving,
    () => patch(Claims.prototype, 'claim', () => () => {}),
  ],
  [
    'an older retained message takes the place of a newer one',
    /retained/,
    { ...forwarding, retains: 60 },
    () => patch(RetainedStore.prototype, 'admits', () => () => true),
  ],
  [
    'a message that comes from another node never expires',
    /^expired/,
    expiring,
    () =>
      patch(
        PublishReader.prototype,
        'read',
        (read) =>
          function (this: PublishReader, ...frame) {
            read.apply(this, frame)
            Object.assign(this.message, { expiresAtMs: Infinity })
          },
      ),
    60,
  ],
  [
    'a session that comes without its client never ends',
    /session expired/,
    draining,
    () =>
      patch(
        Sessions.prototype,
        'adopt',
        (adopt) =>
          function (this: Sessions, session) {
            session.endDueMs = Infinity
            return adopt.call(this, session)
          },
      ),
    90,
  ],
  [
    'the delay of a will begins anew where its session comes to',
    /will/,
    draining,
    () =>
      patch(
        Sessions.prototype,
        'adopt',
        (adopt) =>
          function (this: Sessions, session) {
            if (session.will) session.willDueMs += 1e6
            return adopt.call(this, session)
          },
      ),
    40,
  ],
  [
    'a delayed will fires as its session moves',
    /MQTT-3.14.4-3/,
    draining,
    () =>
      patch(
        Sessions.prototype,
        'adopt',
        (adopt) =>
          function (this: Sessions, session) {
            if (session.will) session.willDueMs = 0
            return adopt.call(this, session)
          },
      ),
    10,
  ],
  [
    'what is to be synced is acknowledged when it is written',
    /QoS [12] lost|group missed/,
    classes,
    () => {
      const heals = [
        patch(
          AckGate.prototype,
          'open',
          (open) =>
            function (this: AckGate, client, lsn, durability) {
              return open.call(this, client, lsn, durability === 'fsync' ? 'os' : durability)
            },
        ),
        patch(
          AckGate.prototype,
          'hold',
          (hold) =>
            function (this: AckGate, client, lsn, send, packetId, reason, durability, wait) {
              hold.call(this, client, lsn, send, packetId, reason, durability === 'fsync' ? 'os' : durability, wait)
            },
        ),
      ]
      return () => {
        for (const heal of heals) heal()
      }
    },
    910,
  ],
  [
    'a peer gives its word for what is to be synced when it is written',
    /QoS [12] lost|group missed|packet id in use/,
    classes,
    () => peerTakes('fsync', 'os'),
    220,
  ],
  [
    'a peer gives its word for what is to be written when it has it',
    /QoS [12] lost|packet id in use/,
    classes,
    () => peerTakes('os', 'memory'),
    80,
  ],
  [
    'an evicted node is given up without a word',
    /given up/,
    evicting,
    () =>
      patch(
        ClusterNode.prototype,
        'evict',
        (evict) =>
          function (this: ClusterNode, node) {
            evict.call(this, node)
            return { messages: 0, bytes: 0 }
          },
      ),
    15,
  ],
  [
    'what is given up is not counted',
    /given up/,
    evicting,
    () =>
      patch(
        Forwarding.prototype,
        'evict',
        (evict) =>
          function (this: Forwarding, node) {
            const { evicted } = this
            const given = evict.call(this, node)
            this.evicted = evicted
            return given
          },
      ),
    15,
  ],
  [
    'with an evicted node the queue of another one is given up',
    /QoS [12] lost|group missed/,
    evicting,
    () =>
      patch(
        Forwarding.prototype,
        'evict',
        (evict) =>
          function (this: Forwarding, node) {
            for (const other of this.nodes())
              if (other.node !== node) for (const stream of other.streams) stream.giveUp()
            return evict.call(this, node)
          },
      ),
    170,
  ],
  [
    'sessions of an evicted node stay its own',
    /rest/,
    evicting,
    () => patch(Remembered.prototype, 'forget', () => () => {}),
  ],
]

for (const [what, rule, habits, plant, from = 0] of mutants)
  test(`${what}: found`, { timeout: 120_000 }, () => {
    const heal = plant()
    try {
      for (let seed = from; seed < from + mostSeeds; seed++)
        try {
          runTown(seed, undefined, habits)
        } catch (fault) {
          expect((fault as Error).message).toMatch(rule)
          return
        }
    } finally {
      heal()
    }
    expect.fail(`not found in seeds ${from} to ${from + mostSeeds - 1}`)
  })

/** A peer takes one class of durability for another. Gives what undoes it. */
function peerTakes(said: Durability, instead: Durability): () => void {
  return patch(
    PublishReader.prototype,
    'read',
    (read) =>
      function (this: PublishReader, ...frame) {
        read.apply(this, frame)
        if (this.durability === said) this.durability = instead
      },
  )
}
