import { expect, test } from 'vitest'
import { Broker } from '../../../src/broker/broker.ts'
import { StandIn } from '../../../src/cluster/arriving.ts'
import { Claims } from '../../../src/cluster/claims.ts'
import { ClusterNode } from '../../../src/cluster/cluster.ts'
import { Forwarding } from '../../../src/cluster/forwarding.ts'
import { Incoming } from '../../../src/cluster/incoming.ts'
import { Link } from '../../../src/cluster/link.ts'
import { OutStream } from '../../../src/cluster/streams.ts'
import { RetainedStore } from '../../../src/retain/retained.ts'
import { Sessions } from '../../../src/sessions/sessions.ts'
import { patch } from '../patch.ts'
import type { Habits } from './crowd.ts'
import { runTown, shapes } from './seeds.ts'

// Bugs that we plant in forwarding, links and handover, to see that the simulation finds them: each changes one method while
// it runs.

const mostSeeds = 2000
const falling = { fall: 25, publish: 70 }
const [forwarding, moving] = shapes as [Partial<Habits>, Partial<Habits>]

const mutants: readonly (readonly [what: string, rule: RegExp, habits: Partial<Habits>, plant: () => () => void])[] = [
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
    () => patch(Forwarding.prototype, 'fence', () => (_node, then) => then(true)),
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
]

test.each(mutants)('%s: found', { timeout: 120_000 }, (_what, rule, habits, plant) => {
  const heal = plant()
  try {
    for (let seed = 0; seed < mostSeeds; seed++)
      try {
        runTown(seed, undefined, habits)
      } catch (fault) {
        expect((fault as Error).message).toMatch(rule)
        return
      }
  } finally {
    heal()
  }
  expect.fail(`not found in ${mostSeeds} seeds`)
})
