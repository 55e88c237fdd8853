import { expect, test } from 'vitest'
import { type Mutant, planted } from '../support/planted.ts'
import type * as World from './rights-world.ts'

// Bugs that we plant in the wiring of permissions, to see that the matrix of a whole broker finds them.

const mutants: readonly Mutant[] = [
  [
    'a live delivery is not asked of',
    'sessions/session.ts',
    'if (!this.mayReceive(message.topic)) return',
    'if (false) return',
  ],
  [
    'what was queued is not asked of again',
    'sessions/outbox.ts',
    'if (rights !== undefined && !rights.receives(message.topic)) {',
    'if (state === sent && rights !== undefined && !rights.receives(message.topic)) {',
  ],
  [
    'what is in flight is not asked of again',
    'sessions/outbox.ts',
    'if (rights !== undefined && !rights.receives(message.topic)) {',
    'if (state === waiting && rights !== undefined && !rights.receives(message.topic)) {',
  ],
  ['the id of a QoS 2 message is not released', 'sessions/outbox.ts', '!== (sent | qos2)', '!== -1'],
  [
    'what was judged of a session stays after a reload',
    'sessions/session.ts',
    ': {}\n    this.#judgeAgain()',
    ': {}\n    if (!this.#judged) this.#judgeAgain()',
  ],
  [
    'what was judged of a session stays when it subscribes to more',
    'sessions/session.ts',
    'this.#judgeAgain()\n    this.#subscriptions.set(',
    'this.#subscriptions.set(',
  ],
  [
    'where it was sent something it is sent more after a reload',
    'sessions/session.ts',
    'this.#received = this.#published = noTopic\n    ',
    'this.#published = noTopic\n    ',
  ],
  [
    'where it published it may go on after a reload',
    'sessions/session.ts',
    'this.#received = this.#published = noTopic\n    ',
    'this.#received = noTopic\n    ',
  ],
  [
    'who was sent something is sent everything',
    'sessions/session.ts',
    'topic.permissionKey === this.#received',
    'this.#received !== noTopic',
  ],
  [
    'who published somewhere may do so anywhere',
    'sessions/session.ts',
    'topic.permissionKey === this.#published',
    'this.#published !== noTopic',
  ],
  [
    'what was denied once is allowed from then on',
    'sessions/session.ts',
    'if (!rights.publishes(topic)) return false\n    topic.publisher = this.#standing\n',
    'topic.publisher = this.#standing\n    if (!rights.publishes(topic)) return false\n',
  ],
  [
    'a topic knows who was allowed something by the rules before',
    'sessions/session.ts',
    'this.#standing = rights === undefined ? nobody : {}',
    'if (this.#standing === nobody) this.#standing = {}',
  ],
  [
    'where one may publish, all may',
    'sessions/session.ts',
    'topic.publisher === this.#standing',
    'topic.publisher !== undefined',
  ],
  [
    'where one is sent something, all are',
    'sessions/session.ts',
    'topic.receiver === this.#standing',
    'topic.receiver !== undefined',
  ],
  [
    'a will is not asked of when it fires',
    'broker/publishing.ts',
    'if (!mayLeave(session.rights, topic, will)) return refuse(notAllowed.will)',
    '',
  ],
  [
    'a will is not asked of when it is left',
    'broker/broker.ts',
    'this.#publishing.authorizeWill(client, this.#entitling.of(client), will, then)',
    'this.#publishing.authorizeWill(client, undefined, will, then)',
  ],
  [
    'to retain is not asked for',
    'broker/publishing.ts',
    'may(retaining, message.topic) === false',
    'may(Act.publish, message.topic) === false',
  ],
  [
    'to publish is not asked for',
    'broker/publishing.ts',
    'return session.mayPublish(message.topic) ? undefined : notAllowed.publish',
    'return undefined',
  ],
  ['a group picks who may not receive', 'routing/shared.ts', 'if (!subscriber.mayReceive(topic)) continue', ''],
  ['to share is not asked for', 'broker/subscribing.ts', 'wish.parsed.group !== undefined)', 'false)'],
  [
    'a reload is for those who log in later',
    'sessions/session.ts',
    'if (this.#ruled !== this.#context.rules)',
    'if (this.#ruled === 0)',
  ],
  [
    'a token limits nobody where there are no other rules',
    'access/permissions.ts',
    ' && identity?.permissions === undefined',
    '',
  ],
]

for (const mutant of mutants)
  test(`${mutant[0]}: found`, { timeout: 60_000 }, async () => {
    const { play } = await planted<typeof World>('broker/rights-world.ts', mutant)
    await expect(play(1, 100_000)).rejects.toThrow(/^seed /)
  })
