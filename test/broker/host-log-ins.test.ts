import { beforeEach, describe, expect, test } from 'vitest'
import { Audit } from '../../src/access/audit.ts'
import { Denied, type Hooks } from '../../src/access/hooks.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { HandBroker, type HandClient } from '../support/hand.ts'
import { connectPacket } from '../support/raw.ts'

// A host program says who comes in: who guesses is slowed down, and what came of it is written down.

let lines: Record<string, unknown>[]
/** Who was asked of, by user name. */
let asked: unknown[]
beforeEach(() => {
  lines = []
  asked = []
})

function start(hooks: Hooks, logIns?: { user: string }): HandBroker {
  const write = (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) > 0
  const identity = { user: logIns?.user ?? '', source: 'users' as const }
  const chain = { authenticate: () => Promise.resolve({ identity }) }
  return new HandBroker({
    hooks,
    access: {
      logIns: logIns && { chain, scram: undefined, separate: false },
      audit: new Audit({ write }, () => 'now'),
    },
  })
}

const authenticate: Hooks['authenticate'] = ({ username }, password) => {
  asked.push(username)
  if (username === 'nobody') throw new Denied(Reason.serverBusy, 'the database is away')
  return Buffer.from(password ?? '').toString() === 'right'
}

function attempt(hand: HandBroker, username: string | undefined, password: string, clientId = 'c'): HandClient {
  const shown = { ...(username !== undefined && { username }), password: Buffer.from(password) }
  return hand.open().send(connectPacket(5, { clientId, ...shown }))
}

const codes = (client: HandClient) => client.taken().map((packet) => (packet as { reasonCode?: number }).reasonCode)

describe('authenticate', () => {
  test('after a no the next one waits, twice as long each time, and others do not', () => {
    const hand = start({ authenticate })
    for (const waitMs of [0, 250, 500, 1000]) {
      const client = attempt(hand, 'ann', 'wrong')
      if (waitMs > 0) hand.pass(waitMs - 100)
      expect(asked.splice(0), `${waitMs} ms`).toEqual(waitMs === 0 ? ['ann'] : [])
      expect(codes(attempt(hand, 'bob', 'right'))).toEqual([0])
      asked = []
      if (waitMs > 0) hand.pass(200)
      expect(asked.splice(0)).toEqual(waitMs === 0 ? [] : ['ann'])
      expect([codes(client), client.closed]).toEqual([[Reason.notAuthorized], true])
    }
    expect(hand.broker.logIns).toMatchObject({ failing: 1, waited: 3, waiting: 0 })
  })

  test('a yes makes an end of it', () => {
    const hand = start({ authenticate })
    attempt(hand, 'ann', 'wrong')
    const client = attempt(hand, 'ann', 'right')
    expect(codes(client)).toEqual([])
    hand.pass(400)
    expect(codes(client)).toEqual([0])
    expect(codes(attempt(hand, 'ann', 'wrong'))).toEqual([Reason.notAuthorized])
    expect(hand.broker.logIns.waited).toBe(1)
  })

  test('whoever could not be judged has not failed', () => {
    const hand = start({ authenticate })
    for (let times = 0; times < 3; times++) expect(codes(attempt(hand, 'nobody', 'right'))).toEqual([Reason.serverBusy])
    expect(hand.broker.logIns).toMatchObject({ failing: 0, waited: 0, denied: { busy: 3, 'host-program': 0 } })
  })

  test('nor has who was not answered in time: it is told that nobody is there to say', () => {
    const hand = start({ authenticate: () => new Promise(() => {}) })
    for (let times = 1; times <= 3; times++) {
      const client = attempt(hand, 'ann', 'right')
      hand.pass(5200)
      expect([codes(client), client.closed]).toEqual([[Reason.serverUnavailable], true])
      expect(hand.broker.logIns).toMatchObject({ failing: 0, waited: 0, denied: { busy: times, 'host-program': 0 } })
    }
    expect(lines).toMatchObject([{ event: 'log-in-denied', user: 'ann', why: 'the hook did not answer in time' }])
  })

  test('a throw is a no, whatever is thrown: who guesses there is slowed down', async () => {
    for (const authenticate of [
      () => {
        throw new Error('who are you?')
      },
      () => Promise.reject(new TypeError('undefined is no user')),
    ]) {
      const hand = start({ authenticate })
      const client = attempt(hand, 'ann', 'wrong')
      await expect.poll(() => client.closed).toBe(true)
      expect(hand.broker.logIns).toMatchObject({ failing: 1, denied: { busy: 0, 'host-program': 1 } })
    }
  })

  test('each has its line: who was let in, and who was not; with the id that it was given', () => {
    const hand = start({ authenticate })
    const client = attempt(hand, 'ann', 'right', '')
    attempt(hand, 'bob', 'wrong')
    const who = { remote: '192.0.2.1:1', by: 'host-program' }
    const { clientId } = client.connection
    expect(clientId).toMatch(/^auto-/)
    expect(lines).toMatchObject([
      { event: 'log-in', client: clientId, user: 'ann', ...who },
      { event: 'log-in-denied', client: 'c', user: 'bob', ...who },
    ])
  })

  test.each([
    ['by its user name', 'ann'],
    ['by something else', undefined],
  ])('who is known to the configuration, %s, is slowed down by its noes as well', async (_, username) => {
    let good = false
    const hand = start({ authenticate: (client) => asked.push(client.username) > 0 && good }, { user: 'ann' })
    const pass = async (ms: number) => {
      if (ms > 0) hand.pass(ms)
      await new Promise<void>((done) => void setImmediate(done))
    }
    for (const waitMs of [0, 250, 500, 1000, 2000]) {
      good = waitMs === 2000
      hand.open().send(connectPacket(5, { clientId: 'c', ...(username !== undefined && { username }) }))
      if (waitMs > 0) {
        await pass(waitMs - 100)
        expect(asked, `${waitMs} ms`).toEqual([])
      }
      await pass(waitMs > 0 ? 200 : 0)
      expect(asked.splice(0)).toEqual(['ann'])
    }
    expect(hand.broker.logIns).toMatchObject({ failing: 0, waited: 4, denied: { 'host-program': 4 } })
  })

  test('who has logged in by the configuration has one line, with the id that it was given', async () => {
    const hand = start({ authenticate: () => true }, { user: 'ann' })
    const client = attempt(hand, 'ann', 'right', '')
    await expect.poll(() => client.connection.state).toBe('connected')
    expect(lines).toMatchObject([{ event: 'log-in', client: client.connection.clientId, user: 'ann', by: 'users' }])
    expect(client.connection.clientId).not.toBe('')
  })
})

describe('exchange', () => {
  const exchange: Hooks['exchange'] = (_, { data }) => {
    asked.push(Buffer.from(data ?? '').toString())
    if (String(asked.at(-1)) !== 'right') throw new Denied()
    return { done: true, username: 'ann' }
  }
  const begin = (hand: HandBroker, data: string) => {
    const properties = { authenticationMethod: 'M', authenticationData: Buffer.from(data) }
    return hand.open().send(connectPacket(5, { clientId: 'c', properties }))
  }

  test('slowed down, and written down with the user that was proved', () => {
    const hand = start({ exchange })
    begin(hand, 'wrong')
    const client = begin(hand, 'right')
    expect(asked).toEqual(['wrong'])
    hand.pass(400)
    expect(codes(client)).toEqual([0])
    expect(lines).toMatchObject([
      { event: 'log-in-denied', by: 'host-program' },
      { event: 'log-in', client: 'c', user: 'ann', by: 'host-program' },
    ])
    expect(hand.broker.logIns.failing).toBe(0)
  })
})
