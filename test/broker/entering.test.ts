import { expect, test } from 'vitest'
import type { Cluster, Entrance } from '../../src/broker/cluster-port.ts'
import { alone } from '../../src/cluster/alone.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { HandBroker } from '../support/hand.ts'
import { connectPacket } from '../support/raw.ts'

test('who has been let in meanwhile has the client id: another user, asked of before that, is refused', () => {
  const entrances: ((entrance: Entrance) => void)[] = []
  // Other nodes take their time to say whether they have the session.
  const cluster: Cluster = { ...alone, alone: false, enter: (_, then) => void entrances.push(then) }
  const hand = new HandBroker({ cluster, hooks: { authenticate: () => true } })
  const enter = (username: string) => hand.open().send(connectPacket(5, { clientId: 'c', username }))
  const [ann, eve, again] = [enter('ann'), enter('eve'), enter('ann')]
  for (const then of entrances) then({ epoch: 1 })
  hand.turn()
  expect(eve.taken()).toMatchObject([{ cmd: 'connack', reasonCode: Reason.clientIdNotValid }])
  expect(eve.closed).toBe(true)
  // The session's own user takes it over, as ever.
  expect(ann.taken()).toMatchObject([{ reasonCode: 0 }, { cmd: 'disconnect', reasonCode: Reason.sessionTakenOver }])
  expect(again.taken()).toMatchObject([{ reasonCode: 0 }])
  expect(hand.broker.sessions.get('c')).toMatchObject({ username: 'ann', connection: again.connection })
})
