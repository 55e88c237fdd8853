import { describe, expect, test } from 'vitest'
import { complaint, load } from './given.ts'

const good = `
permissions:
  - effect: allow
    who: everybody
    actions: [publish, retain, will]
    topics: [dev/%c/#]
  - { effect: deny, who: anonymous, actions: [subscribe], topics: ['#', $SYS/#] }
  - effect: allow
    who: { users: [ann, bob], groups: [ops], clientIds: [pump], anonymous: true }
    actions: [receive, shared]
    topics: [user/%u]
`

test('rules, in order, each with its place', () => {
  const place = (line: number): object => ({ source: 'etc/godwit.yaml', line, column: 5 })
  expect(load({ file: good }).permissions).toEqual([
    {
      effect: 'allow',
      who: { everybody: true },
      actions: ['publish', 'retain', 'will'],
      topics: ['dev/%c/#'],
      place: place(3),
    },
    { effect: 'deny', who: { anonymous: true }, actions: ['subscribe'], topics: ['#', '$SYS/#'], place: place(7) },
    {
      effect: 'allow',
      who: { users: ['ann', 'bob'], groups: ['ops'], clientIds: ['pump'], anonymous: true },
      actions: ['receive', 'shared'],
      topics: ['user/%u'],
      place: place(8),
    },
  ])
  expect(load({ file: 'logLevel: info' }).permissions).toBeUndefined()
})

const at = (place: string, key = ''): string => `etc/godwit.yaml:${place}: permissions${key}: `
const rule = (change: string): string =>
  `permissions:\n  - ${['effect: allow', 'who: everybody', 'actions: [publish]', 'topics: [a]']
    .map((line) => (line.startsWith(change.slice(0, change.indexOf(':'))) ? change : line))
    .join('\n    ')}`
const whoIs = 'must be everybody, anonymous, or a map with users, groups, clientIds or anonymous'

describe('mistakes', () => {
  for (const [file, wanted] of [
    ['permissions: []', `${at('1:14')}must list a rule, or be left out, not []`],
    ['permissions: all', `${at('1:14')}must be a list of rules, not "all"`],
    ['permissions:\n', `${at('1:13')}must be a list of rules, not null`],
    ['permissions: [all]', `${at('1:15', '.0')}must be a map with effect, who, actions and topics, not "all"`],
    [
      rule('actions: [publsh, receive, recieve]'),
      `${at('4:15', '.0.actions.0')}"publsh": is none of publish, subscribe, receive, retain, will, shared, did you mean "publish"?\n` +
        `${at('4:32', '.0.actions.2')}"recieve": is none of publish, subscribe, receive, retain, will, shared, did you mean "receive"?`,
    ],
    [
      rule('actions: [write]'),
      `${at('4:15', '.0.actions.0')}"write": is none of publish, subscribe, receive, retain, will, shared`,
    ],
    [rule('actions: publish'), `${at('4:14', '.0.actions')}must be a list of actions, not "publish"`],
    [rule('actions: []'), `${at('4:14', '.0.actions')}must list an action, not []`],
    [rule('effect: alow'), `${at('2:13', '.0.effect')}must be allow or deny, not "alow"`],
    [rule('topics: []'), `${at('5:13', '.0.topics')}must list a topic filter, not []`],
    [rule('topics: [a/#/b]'), `${at('5:14', '.0.topics.0')}"a/#/b": "#" must be the whole last level in "a/#/b"`],
    [
      rule('topics: [dev-%c/x]'),
      `${at('5:14', '.0.topics.0')}"dev-%c/x": %c and %u must fill a whole level, unlike in "dev-%c"`,
    ],
    [
      rule('topics: [$share/g/a]'),
      `${at('5:14', '.0.topics.0')}"$share/g/a": a rule is about topics, and "shared" is an action: leave out $share/<group>/`,
    ],
    [rule('who: ann'), `${at('3:10', '.0.who')}${whoIs}, not "ann"`],
    [rule('who: {}'), `${at('3:10', '.0.who')}{}: must name somebody`],
    [rule('who: { user: ann }'), `${at('3:12', '.0.who.user')}unknown key, did you mean "users"?`],
    [rule('who: { users: ann }'), `${at('3:19', '.0.who.users')}must be a list, not "ann"`],
    [rule('who: { users: [] }'), `${at('3:19', '.0.who.users')}must name one, or be left out, not []`],
    [rule("who: { users: [''] }"), `${at('3:20', '.0.who.users.0')}must not be empty, not ""`],
    [rule('who: { users: [7] }'), `${at('3:20', '.0.who.users.0')}must be a text, not 7`],
    [
      'permissions:\n  - { effect: allow, whom: everybody, actions: [publish], topics: [a] }',
      `${at('2:5', '.0.who')}is missing: ${whoIs}\n${at('2:22', '.0.whom')}unknown key, did you mean "who"?`,
    ],
  ] as const)
    test(file, () => expect(complaint({ file })).toBe(wanted))
})
