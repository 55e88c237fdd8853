import { describe, expect, test } from 'vitest'
import { Decisions } from '../../src/access/decisions.ts'
import { Permissions } from '../../src/access/permissions.ts'
import { Act, type Action, actions, checkTopic, compileRules, everyAction, type Rule } from '../../src/access/rules.ts'
import { parseFilter, Topic } from '../../src/mqtt/topic.ts'
import { patch } from '../sim/patch.ts'

const topic = (name: string): Topic => new Topic(name, Buffer.from(name))
const rule = (effect: Rule['effect'], who: Rule['who'], list: readonly Action[], ...topics: string[]): Rule => ({
  effect,
  who,
  actions: list,
  topics,
})
const everybody = { everybody: true } as const
const ann = { user: 'ann', groups: ['ops'] }

/** What a client may do on a topic. */
function allowed(rules: readonly Rule[], holder: Parameters<Permissions['for']>[0], id: string, name: string): string {
  const client = new Permissions([compileRules(rules)]).for(holder, id)
  return actions.filter((action) => client.may(Act[action], topic(name))).join(' ')
}

test('nothing configured: everything is allowed; one rule: only what it allows', () => {
  const open = new Permissions([]).for(undefined, 'x')
  expect(open.may(everyAction, topic('a'))).toBe(true)
  expect(open.mayFilter(parseFilter('#').filter, true)).toBe(true)
  expect(open.receivesAll(parseFilter('#').filter)).toBe(true)
  const one = new Permissions([compileRules([rule('allow', everybody, ['publish'], 'a')])]).for(undefined, 'x')
  expect(one.may(Act.publish, topic('a'))).toBe(true)
  expect(one.may(Act.publish | Act.retain, topic('a'))).toBe(false)
  expect(one.may(Act.publish, topic('b'))).toBe(false)
})

test('a token that names rules has no more than some rule allows, and a denial elsewhere wins', () => {
  const token = { ...ann, permissions: [rule('allow', everybody, ['publish'], 'a/#')] }
  const nothing = new Permissions([]).for(token, 'x')
  expect([nothing.may(Act.publish, topic('a/b')), nothing.may(Act.publish, topic('b'))]).toEqual([true, false])
  const denied = compileRules([rule('deny', everybody, ['publish'], 'a/b')])
  expect(new Permissions([denied]).for(token, 'x').may(Act.publish, topic('a/b'))).toBe(false)
})

describe('whom a rule is for', () => {
  for (const [name, who, holder, wanted] of [
    ['everybody, anonymous too', everybody, undefined, true],
    ['anonymous', { anonymous: true }, undefined, true],
    ['anonymous: an empty name is none', { anonymous: true }, { user: '' }, true],
    ['anonymous is nobody who has logged in', { anonymous: true }, ann, false],
    ['a user', { users: ['bob', 'ann'] }, ann, true],
    ['another user', { users: ['bob'] }, ann, false],
    ['a name in other letters', { users: ['Ann'] }, ann, false],
    ['a group', { groups: ['ops'] }, ann, true],
    ['a group that is a user', { users: ['ops'] }, ann, false],
    ['a client id', { clientIds: ['pump'] }, undefined, true],
    ['any that is named', { users: ['bob'], clientIds: ['pump'] }, ann, true],
    ['a name of JavaScript', { users: ['__proto__'] }, ann, false],
    ['nobody', {}, ann, false],
  ] as const)
    test(name, () => {
      expect(allowed([rule('allow', who, ['publish'], '#')], holder, 'pump', 'a')).toBe(wanted ? 'publish' : '')
    })
})

describe('%c and %u', () => {
  const rules = [rule('allow', everybody, ['publish'], 'dev/%c/#', 'user/%u')]
  for (const [id, user, name, wanted] of [
    ['pump', 'ann', 'dev/pump/x', true],
    ['pump', 'ann', 'dev/other/x', false],
    ['pump', 'ann', 'user/ann', true],
    ['pump', 'ann', 'user/pump', false],
    ['+', 'ann', 'dev/other/x', false],
    ['#', 'ann', 'dev/other/x', false],
    ['a/b', 'ann', 'dev/a/b', false],
    ['', 'ann', 'dev//x', false],
    ['%u', 'ann', 'dev/ann/x', false],
    ['a\u0001', 'ann', 'dev/a\u0001', false],
    ['.*', 'ann', 'dev/x/y', false],
    ['.*', 'ann', 'dev/.*/y', true],
    ['$&', 'ann', 'dev/$&/y', true],
    ['pump', '', 'user/', false],
    ['pump', '+', 'user/x', false],
  ] as const)
    test(JSON.stringify([id, user, name]), () =>
      expect(allowed(rules, { user }, id, name)).toBe(wanted ? 'publish' : ''),
    )

  test('a name opens no topic that begins with "$"', () => {
    const own = [rule('allow', everybody, ['receive'], '%u/#')]
    expect(allowed(own, { user: '$SYS' }, 'x', '$SYS/broker')).toBe('')
    expect(allowed([rule('allow', everybody, ['receive'], '$SYS/%u')], { user: 'a' }, 'x', '$SYS/a')).toBe('receive')
  })

  test('a rule that says nothing for a client is reported, once until a reload', () => {
    const told: string[] = []
    const effects = { unusable: (_: unknown, { text }: { text: string }) => void told.push(text) }
    const all = new Permissions([compileRules(rules)], effects)
    const client = all.for({ user: 'ann' }, '+')
    for (let times = 0; times < 3; times++) client.may(Act.publish, topic('a'))
    expect(told).toEqual(['dev/%c/#'])
    all.reload([compileRules(rules)])
    client.may(Act.publish, topic('a'))
    expect(told).toEqual(['dev/%c/#', 'dev/%c/#'])
  })
})

test('a reload is for those who are connected, too', () => {
  const all = new Permissions([compileRules([rule('allow', everybody, ['publish'], '#')])])
  const [client, name] = [all.for(undefined, 'x'), topic('a')]
  expect(client.may(Act.publish, name)).toBe(true)
  all.reload([compileRules([rule('allow', everybody, ['receive'], '#')])])
  expect([client.may(Act.publish, name), client.may(Act.receive, name)]).toEqual([false, true])
  all.reload([])
  expect(client.may(everyAction, name)).toBe(true)
})

test('rules about others, and about other topics, cost nothing', () => {
  const rules = (count: number): Rule[] =>
    Array.from({ length: count }, (_, at) => [
      rule('allow', { users: [`user-${at}`] }, ['publish'], 'dev/#', '+/x'),
      rule('deny', { groups: [`group-${at}`], clientIds: [`id-${at}`] }, ['receive'], '#'),
      rule('deny', everybody, ['publish', 'receive'], `site/+/${at}/#`, `dev/${at}/%u`),
    ]).flat()
  const own = [rule('allow', { users: ['ann'] }, ['publish', 'receive', 'subscribe'], 'dev/%c/#')]
  const work = (count: number): number => {
    const client = new Permissions([compileRules([...rules(count), ...own])]).for(ann, 'pump')
    let looks = 0
    const undo = patch(
      Map.prototype,
      'get',
      (get) =>
        function (this: Map<unknown, unknown>, key: unknown): unknown {
          looks++
          return get.call(this, key)
        },
    )
    // Nothing else may look into a table meanwhile: what was found is judged behind it.
    let found: readonly boolean[]
    try {
      found = [
        client.may(Act.publish, topic('dev/pump/temperature')),
        client.mayFilter(parseFilter('dev/pump/+').filter, false),
        client.receivesAll(parseFilter('dev/pump/+').filter),
      ]
    } finally {
      undo()
    }
    expect(found).toEqual([true, true, true])
    return looks
  }
  // Of ten there are tables already, where one alone needs none.
  expect(work(10_000)).toBe(work(10))
  expect(work(10)).toBeLessThan(40)
})

describe('filters', () => {
  const rules = [
    rule('allow', everybody, ['subscribe', 'receive'], 'a/#'),
    rule('deny', everybody, ['receive', 'subscribe'], 'a/+/s'),
    rule('allow', { users: ['ann'] }, ['shared'], 'a/b/#'),
  ]
  const all = new Permissions([compileRules(rules)])
  for (const [user, filter, shared, may, receives] of [
    ['bob', 'a/#', false, true, false],
    ['bob', 'a/#', true, false, false],
    ['bob', 'a/+/s', false, false, false],
    ['bob', 'a/x/s', false, false, false],
    ['bob', 'a/b', false, true, true],
    ['bob', 'a/b/#', false, true, false],
    ['bob', '#', false, false, false],
    ['bob', '+/b', false, false, false],
    ['ann', 'a/b/#', true, true, false],
    ['ann', 'a/#', true, false, false],
    ['ann', 'a/b/c', true, true, true],
  ] as const)
    test(`${user} ${shared ? 'shares ' : ''}${filter}`, () => {
      const client = all.for({ user }, 'x')
      expect(client.mayFilter(parseFilter(filter).filter, shared)).toBe(may)
      expect(client.receivesAll(parseFilter(filter).filter)).toBe(receives)
    })
})

describe('the table of decisions', () => {
  test('is bounded, and never gives the answer of another pair', () => {
    const decisions = new Decisions(4096)
    const names = Array.from({ length: 500 }, (_, at) => topic(`t/${at}`))
    const bitsOf = (client: number, at: number): number => (client * 31 + at * 17) & 63
    let found = 0
    for (let round = 0; round < 4; round++)
      for (let client = 1; client <= 40; client++)
        for (const [at, name] of names.entries()) {
          const known = decisions.find(client, name)
          if (known >= 0) found++
          if (known >= 0 && known !== bitsOf(client, at)) throw new Error(`${client} ${at}`)
          if (known < 0) decisions.keep(client, name, bitsOf(client, at))
        }
    expect(decisions.size).toBe(4096)
    expect(decisions.misses + found).toBe(4 * 40 * 500)
  })

  test('keeps most of a working set that fits', () => {
    const decisions = new Decisions()
    const names = Array.from({ length: 2000 }, (_, at) => topic(`t/${at}`))
    const pass = (): void => {
      for (let client = 1; client <= 10; client++)
        for (const name of names) if (decisions.find(client, name) < 0) decisions.keep(client, name, 1)
    }
    for (let times = 0; times < 6; times++) pass()
    const before = decisions.misses
    pass()
    // Where three fall on one place of two, each displaces another.
    expect(decisions.misses - before).toBeLessThan(10 * 2000 * 0.2)
  })

  test("two tables that see one topic do not take each other's answers", () => {
    const one = new Decisions()
    const other = new Decisions()
    other.keep(1, topic('before'), 1)
    const shared = topic('t')
    one.keep(1, shared, 63)
    expect(other.find(1, shared)).toBe(-1)
    other.keep(1, shared, 0)
    expect(one.find(1, shared)).toBe(-1)
    expect(other.find(1, shared)).toBe(0)
    one.keep(1, shared, 63)
    expect(one.find(1, shared)).toBe(63)
  })

  test('knows nobody who has never been asked about', () => {
    expect(new Decisions().find(0, topic('a'))).not.toBe(63)
    expect(new Decisions().find(1, topic('a'))).toBe(-1)
  })
})

describe('topics of rules', () => {
  for (const text of ['a', '#', '+/a', '%c', '%u/#', 'a/%c/%u', '$SYS/#', 'a/50%', '100%/x'])
    test(`${text} is one`, () => expect(checkTopic(text)).toBe(text))
  for (const text of ['', 'a/#/b', 'a+', '$share/g/a', '$share/a', 'x%c', 'a/%c%u', 'a/%ux/b'])
    test(`${text} is none`, () => expect(() => checkTopic(text)).toThrow())
})
