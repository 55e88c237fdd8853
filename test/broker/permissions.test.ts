import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Holder } from '../../src/access/permissions.ts'
import { type Action, compileRules, type Rule } from '../../src/access/rules.ts'
import { acknowledge, hears, join, joinKept, publishes, settle } from '../standard/kit.ts'
import { startBroker, temporaryFolder, type TestBroker } from '../support/broker.ts'
import { HandBroker } from '../support/hand.ts'
import { connectPacket, RawClient } from '../support/raw.ts'

// Rules, held by a broker: whatever is sent, left, asked for and delivered.

function rule(effect: 'allow' | 'deny', actions: readonly Action[], ...topics: string[]): Rule {
  return { effect, who: { everybody: true }, actions, topics }
}
const all = rule('allow', ['publish', 'retain', 'will', 'subscribe', 'shared', 'receive'], '#')
const except = (action: Action, topic: string): readonly Rule[] => [all, rule('deny', [action], topic)]

function start(rules: readonly Rule[], more: Parameters<typeof startBroker>[0] = {}): Promise<TestBroker> {
  return startBroker({ ...more, config: { permissions: rules, ...more.config } })
}

/** What SIGHUP does. */
function permit(
  { node }: TestBroker,
  rules: readonly Rule[],
  named = (user: string): Holder | undefined => ({ user }),
) {
  node.broker.permit({ policies: rules.length > 0 ? [compileRules(rules)] : [], named })
}

function lost({ node }: TestBroker): number {
  return node.broker.ledger.lost['not-allowed']
}

test('a reload while a hook is asked: what it was asked about is judged by the rules of now', async () => {
  const answers: (() => void)[] = []
  const later = (): Promise<void> => new Promise((resolve) => answers.push(resolve))
  const policies = (rules: readonly Rule[]) => ({
    policies: [compileRules(rules)],
    named: (user: string) => ({ user }),
  })
  const hand = new HandBroker({
    hooks: { authorizePublish: later, authorizeSubscribe: later },
    rulebook: policies([all]),
  })
  const client = hand.client('c')
  client.publish('a', 'x', { qos: 1, messageId: 1 })
  client.send({ cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: 'a', qos: 1 }] })
  for (const cmd of ['puback', 'suback']) {
    hand.broker.permit(policies(cmd === 'puback' ? except('publish', 'a') : except('subscribe', 'a')))
    answers.splice(0).forEach((answer) => answer())
    await new Promise(setImmediate)
    hand.turn()
    const [answer] = client.taken() as { cmd: string; reasonCode?: number; granted?: number[] }[]
    expect([answer?.cmd, answer?.reasonCode ?? answer?.granted?.[0]]).toEqual([cmd, 0x87])
  }
  expect(hand.broker.sessions.get('c')!.subscriptions.size).toBe(0)
})

for (const version of [4, 5] as const)
  test(`PUBLISH that is not allowed goes nowhere, and version ${version} is told as it can be`, async () => {
    const broker = await start([all, rule('deny', ['publish'], 'no/+'), rule('deny', ['retain'], 'fleeting')])
    const [sub, pub] = [await join(broker, 'sub'), await join(broker, 'pub', version)]
    await sub.subscribe('#')
    for (const [topic, retain] of [
      ['no/1', false],
      ['fleeting', true],
    ] as const) {
      for (const qos of [1, 2]) {
        pub.publish(topic, 'x', { qos, retain, messageId: qos })
        const answer = await pub.expect(qos === 1 ? 'puback' : 'pubrec')
        if (version === 5) expect(answer).toMatchObject({ reasonCode: 0x87 })
        if (version === 5) expect(answer.properties).toHaveProperty('reasonString')
        if (version === 5 || qos === 1) continue
        pub.send({ cmd: 'pubrel', messageId: 2 })
        await pub.expect('pubcomp')
      }
      pub.publish(topic, 'x', { retain })
    }
    pub.publish('fleeting', 'not retained')
    await settle(pub)
    expect(await hears(sub, 1)).toEqual(['fleeting=not retained q0'])
    await sub.expectQuiet()
    const { ledger, retained } = broker.node.broker
    expect([ledger.refused, retained.size]).toEqual([6, 0])
    expect(ledger.refusals.get('notAuthorized')).toBe(6)
  })

for (const [version, denied] of [
  [4, 0x80],
  [5, 0x87],
] as const)
  test(`SUBSCRIBE of version ${version} is answered filter by filter`, async () => {
    const broker = await start([rule('allow', ['subscribe'], 'a/#', 'b'), rule('allow', ['shared'], 'b')])
    const client = await join(broker, 'c', version)
    const filters = ['a/b', '#', '$share/g/a/b', '$share/g/b', 'b', '+']
    const subscriptions = filters.map((topic) => ({ topic, qos: 1 as const, nl: false, rap: false, rh: 0 as const }))
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions })
    expect((await client.expect('suback')).granted).toEqual([1, denied, denied, 1, 1, denied])
    expect([...broker.node.broker.sessions.get('c')!.subscriptions.keys()]).toEqual(['a/b', '$share/g/b', 'b'])
  })

test('both must agree: rules and the hooks of a host program', async () => {
  const asked: string[] = []
  const hooks = {
    authorizeSubscribe: (_: unknown, { filter }: { filter: string }) => (asked.push(filter), filter !== 'hook'),
    authorizePublish: (_: unknown, { topic }: { topic: string }) => (asked.push(topic), topic !== 'hook'),
  }
  const broker = await start(except('publish', 'rule'), { hooks })
  permit(broker, [...except('publish', 'rule'), rule('deny', ['subscribe'], 'rule')])
  const client = await join(broker, 'c')
  for (const [topic, code] of [
    ['rule', 0x87],
    ['hook', 0x87],
    ['yes', 0],
  ] as const) {
    expect(await client.subscribe(topic)).toBe(code)
    client.publish(topic, '', { qos: 1, messageId: 1 })
    if (code === 0) await client.expect('publish')
    expect((await client.expect('puback')).reasonCode).toBe(code)
  }
  expect(asked).toEqual(['hook', 'hook', 'yes', 'yes'])
})

describe('a delivery that is not allowed is kept back, and counted', () => {
  test('live: wide subscriptions get what they may', async () => {
    const broker = await start(except('receive', 'a/+/s'))
    const [sub, pub] = [await join(broker, 'sub'), await join(broker, 'pub')]
    for (const filter of ['a/#', 'a/x/+']) await sub.subscribe(filter, 1)
    for (const qos of [0, 1]) for (const topic of ['a/x/s', 'a/x/t']) pub.publish(topic, 'x', { qos, messageId: 1 })
    await settle(pub)
    expect(await hears(sub, 2)).toEqual(['a/x/t=x q0', 'a/x/t=x q1'])
    await sub.expectQuiet()
    expect(lost(broker)).toBe(2)
  })

  test('a subscription that comes later is looked at anew, and so is one that was replaced', async () => {
    const broker = await start(except('receive', 'secret/#'))
    const [sub, pub] = [await join(broker, 'sub'), await join(broker, 'pub')]
    await sub.subscribe('open/#')
    pub.publish('open/1')
    await sub.expect('publish')
    await sub.subscribe('secret/#')
    pub.publish('secret/1').publish('open/2')
    expect((await sub.expect('publish')).topic).toBe('open/2')
    expect(lost(broker)).toBe(1)
  })

  test('retained', async () => {
    const broker = await start(except('receive', 'a/1'))
    const [sub, pub] = [await join(broker, 'sub'), await join(broker, 'pub')]
    for (const topic of ['a/0', 'a/1', 'a/2']) pub.publish(topic, 'x', { retain: true })
    await settle(pub)
    await sub.subscribe('a/+', 1)
    expect(new Set(await hears(sub, 2))).toEqual(new Set(['a/0=x q0 retain', 'a/2=x q0 retain']))
    await sub.expectQuiet()
    expect(lost(broker)).toBe(1)
  })

  test('$SYS, which only filters that name it open', async () => {
    const broker = await start([all], { limits: { sysSeconds: 1 } })
    const client = await join(broker, 'c')
    expect(await client.subscribe('$SYS/#')).toBe(0x87)
    permit(broker, [all, rule('allow', ['subscribe'], '$SYS/#')])
    expect(await client.subscribe('$SYS/#')).toBe(0)
    await client.expectQuiet()
  })

  test('shared: it goes to a member who may have it, and to nobody when there is none', async () => {
    const rules: readonly Rule[] = [
      all,
      { effect: 'deny', who: { clientIds: ['one'] }, actions: ['receive'], topics: ['a/s'] },
      rule('deny', ['receive'], 'a/never'),
    ]
    const broker = await start(rules)
    const [one, two, pub] = [await join(broker, 'one'), await join(broker, 'two'), await join(broker, 'pub')]
    for (const client of [one, two]) await client.subscribe('$share/g/a/#', 1)
    for (let messageId = 1; messageId <= 4; messageId++) pub.publish('a/s', 'x', { qos: 1, messageId })
    expect(await hears(two, 4)).toEqual(Array(4).fill('a/s=x q1'))
    await two.disconnect()
    for (const topic of ['a/s', 'a/never']) pub.publish(topic, 'x', { qos: 1, messageId: 9 })
    await settle(pub)
    await one.expectQuiet()
    expect(lost(broker)).toBe(2)
    // Two's first ones were not acknowledged, and nobody else may have them.
    expect(broker.node.broker.ledger.lost['session-ended']).toBe(4)
  })
})

describe('revoked rights', () => {
  const granted = [all]
  const revoked = except('receive', 't')

  test('queued: nothing comes of what waits', async () => {
    const broker = await start(granted)
    const [pub, sub] = [await join(broker, 'pub'), await joinKept(broker, 'sub')]
    await sub.subscribe('#', 2)
    await sub.disconnect()
    for (const [messageId, topic] of ['t', 'u', 't', 'u'].entries())
      pub.publish(topic, `${messageId}`, { qos: 1 + (messageId >> 1), messageId: messageId + 1 })
    await settle(pub)
    permit(broker, revoked)
    const back = await joinKept(broker, 'sub')
    expect(await hears(back, 2)).toEqual(['u=1 q1', 'u=3 q2'])
    await back.expectQuiet()
    expect(lost(broker)).toBe(2)
  })

  test('in flight: nothing is sent again, and the id of a QoS 2 message is released', async () => {
    const broker = await start(granted)
    const [pub, sub] = [await join(broker, 'pub'), await joinKept(broker, 'sub')]
    await sub.subscribe('#', 2)
    pub.publish('t', '1', { qos: 1, messageId: 1 }).publish('t', '2', { qos: 2, messageId: 2 })
    pub.publish('u', '3', { qos: 1, messageId: 3 })
    const ids = (await publishes(sub, 3)).map(({ messageId }) => messageId)
    await sub.drop()
    permit(broker, revoked)
    const back = await joinKept(broker, 'sub')
    expect(await back.expect('pubrel')).toMatchObject({ messageId: ids[1] })
    expect(await hears(back, 1)).toEqual(['u=3 q1 dup'])
    await back.expectQuiet()
    // Its end may take another connection.
    await back.drop()
    const again = await joinKept(broker, 'sub')
    expect(await again.expect('pubrel')).toMatchObject({ messageId: ids[1] })
    again.send({ cmd: 'pubcomp', messageId: ids[1] as number })
    for (const packet of await publishes(again, 1)) await acknowledge(again, packet)
    await again.expectQuiet()
    expect(lost(broker)).toBe(2)
    expect(broker.node.broker.pending).toBe(0)
    expect(broker.node.broker.ledger.delivered).toBe(1)
  })

  test('a QoS 2 message whose PUBREC has come goes on to its end', async () => {
    const broker = await start(granted)
    const [pub, sub] = [await join(broker, 'pub'), await joinKept(broker, 'sub')]
    await sub.subscribe('#', 2)
    pub.publish('t', '1', { qos: 2, messageId: 1 })
    const { messageId } = (await publishes(sub, 1))[0]! as unknown as { messageId: number }
    sub.send({ cmd: 'pubrec', messageId })
    await sub.expect('pubrel')
    await sub.drop()
    permit(broker, revoked)
    const back = await joinKept(broker, 'sub')
    await back.expect('pubrel')
    back.send({ cmd: 'pubcomp', messageId })
    await back.expectQuiet()
    expect([lost(broker), broker.node.broker.ledger.delivered]).toEqual([0, 1])
  })

  test('live, retained, publishing and subscribing: from the next packet on', async () => {
    const broker = await startBroker()
    const [sub, pub] = [await join(broker, 'sub'), await join(broker, 'pub')]
    await sub.subscribe('#')
    pub.publish('t', '1', { retain: true })
    expect(await hears(sub, 1)).toEqual(['t=1 q0'])
    for (const [rules, publish, receives, subscribes] of [
      [revoked, 0, false, 0],
      [except('publish', '#'), 0x87, true, 0],
      [except('subscribe', '+'), 0, true, 0x87],
      [granted, 0, true, 0],
      [[rule('deny', ['will'], 'x')], 0x87, false, 0x87],
      [[], 0, true, 0],
    ] as const) {
      permit(broker, rules)
      pub.publish('t', '2', { qos: 1, messageId: 1 })
      expect((await pub.expect('puback')).reasonCode).toBe(publish)
      if (receives && publish === 0) expect(await hears(sub, 1)).toEqual(['t=2 q0'])
      const late = await join(broker, 'late')
      expect(await late.subscribe('+')).toBe(subscribes)
      if (receives && subscribes === 0) expect(await hears(late, 1)).toEqual(['t=1 q0 retain'])
      await late.expectQuiet()
      await sub.expectQuiet()
      await late.disconnect()
    }
  })
})

describe('wills', () => {
  const will = { topic: 'gone', payload: Buffer.from('x'), qos: 1 as const, retain: true }
  const kept = { clean: false, properties: { sessionExpiryInterval: 3600 } }

  for (const [version, code] of [
    [4, 5],
    [5, 0x87],
  ] as const)
    test(`one that is not allowed is refused with its CONNECT, version ${version}`, async () => {
      for (const action of ['publish', 'will', 'retain'] as const) {
        const broker = await start(except(action, 'gone'))
        const client = await RawClient.open(broker, version)
        client.send(connectPacket(version, { clientId: 'c', will }))
        const connack = await client.expect('connack')
        expect(version === 5 ? connack.reasonCode : connack.returnCode).toBe(code)
        await client.expectClosed()
      }
    })

  test('asked of again when it fires', async () => {
    const broker = await start([all])
    const sub = await join(broker, 'sub')
    await sub.subscribe('#')
    const [one, two] = [await join(broker, 'one', 5, { will }), await join(broker, 'two', 5, { will })]
    await one.drop()
    expect(await hears(sub, 1)).toEqual(['gone=x q0'])
    permit(broker, except('will', 'gone'))
    await two.drop()
    await sub.expectQuiet()
    const { ledger } = broker.node.broker
    expect([ledger.refused, ledger.refusals.get('notAuthorized')]).toEqual([1, 1])
  })

  /** Leaves a session with a will behind, and starts again with what a configuration says of users. */
  async function restarted(rules: readonly Rule[], named: (user: string) => Holder | undefined): Promise<TestBroker> {
    const data = temporaryFolder()
    const hooks = { authenticate: () => true }
    const first = await start([all], { data, hooks })
    const left = await join(first, 'left', 5, {
      ...kept,
      username: 'ann',
      will: { ...will, properties: { willDelayInterval: 60 } },
    })
    await settle(left)
    await first.node.close()
    const second = await start(rules, { data, hooks, limits: { sessionExpirySeconds: 3600 } })
    permit(second, rules, named)
    return second
  }
  const opsOnly: readonly Rule[] = [
    { effect: 'allow', who: { groups: ['ops'] }, actions: ['publish', 'will', 'retain'], topics: ['#'] },
    rule('allow', ['subscribe', 'receive'], '#'),
  ]

  for (const [what, named, fires] of [
    ['a group that a file knows', (user: string) => ({ user, groups: ['ops'] }), true],
    ['no group', (user: string) => ({ user }), false],
    ['a log-in that brought more than the name', () => undefined, false],
  ] as const)
    test(`after a restart, by ${what}`, async () => {
      const broker = await restarted(opsOnly, named)
      const { sessions, retained, ledger } = broker.node.broker
      const session = sessions.get('left')!
      // Its time is over.
      session.willDueMs = 0
      sessions.due(session, 1)
      expect(retained.size).toBe(fires ? 1 : 0)
      expect(ledger.refused).toBe(fires ? 0 : 1)
    })
})

test('rules by user are for names that somebody has proved', async () => {
  const rules: readonly Rule[] = [
    { effect: 'allow', who: { users: ['ann'] }, actions: ['publish'], topics: ['ann/#'] },
    { effect: 'allow', who: { anonymous: true }, actions: ['publish'], topics: ['open'] },
  ]
  for (const [hooks, topic] of [
    [{ authenticate: () => true }, 'ann/x'],
    [{}, 'open'],
    // It names no method, so that nobody has asked it anything.
    [{ exchange: () => ({ done: true, username: 'ann' }) }, 'open'],
  ] as const) {
    const broker = await start(rules, { hooks })
    const client = await join(broker, 'c', 5, { username: 'ann' })
    for (const each of ['ann/x', 'open']) {
      client.publish(each, '', { qos: 1, messageId: 1 })
      expect((await client.expect('puback')).reasonCode).toBe(each === topic ? 0x10 : 0x87)
    }
  }
})

test('the audit log names what is refused: who, what, where and why', async () => {
  const file = `${temporaryFolder()}/audit.log`
  const hooks = { authenticate: () => true }
  const broker = await start([all, rule('deny', ['publish', 'subscribe'], 'no')], {
    hooks,
    config: { audit: { file } },
  })
  const will = { topic: 'fine', payload: Buffer.from('x'), qos: 0 as const, retain: false }
  const client = await join(broker, 'c', 5, { username: 'ann', will })
  for (let times = 0; times < 3; times++) client.publish('no')
  await client.subscribe('no')
  const refused = await RawClient.open(broker)
  refused.send(connectPacket(5, { clientId: 'd', will: { ...will, topic: 'no' } }))
  await refused.expect('connack')
  permit(broker, except('will', '#'))
  await client.drop()
  await settle(await join(broker, 'e'))
  await broker.node.close()
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  const told = events.filter(({ event }) => event === 'refused')
  expect(told.map(({ client, user, action, topic, more }) => [client, user, action, topic, more])).toEqual([
    ['c', undefined, 'publish', 'no', undefined],
    ['c', undefined, 'subscribe', 'no', undefined],
    ['d', undefined, 'will', 'no', undefined],
    ['c', 'ann', 'will', 'fine', undefined],
    ['c', undefined, 'publish', 'no', 2],
  ])
  expect(told.map(({ why }) => why).every((why) => String(why).startsWith('no permission to'))).toBe(true)
})
