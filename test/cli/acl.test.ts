import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { temporary } from '../support/program.ts'
import { godwit } from './godwit.ts'

const rules = `permissions:
  - effect: allow
    who: { users: [ann], groups: [ops] }
    actions: [publish, subscribe, receive]
    topics: ['plant/#', 'dev/%c/#']
  - effect: deny
    who: everybody
    actions: [receive, publish]
    topics: [plant/+/secret]
  - effect: allow
    who: everybody
    actions: [subscribe]
    topics: ['#']
`
let file: string
let acl: string
beforeEach(() => {
  const folder = temporary()
  file = join(folder, 'godwit.yaml')
  acl = join(folder, 'acl')
  writeFileSync(file, rules)
  writeFileSync(acl, 'topic read public/#\nuser ann\ntopic plant/#\ntopic deny plant/x\npattern dev/%c/#\n')
})

const ask = async (words: readonly string[]): Promise<{ code: number; lines: string[]; err: string }> => {
  const source = words.includes('--acl-file') ? [] : ['--config', file]
  const { code, out, err } = await godwit(['acl', 'test', ...words, ...source])
  return { code, lines: out.replaceAll(file, 'F').replaceAll(acl, 'A').split('\n').slice(0, -1), err }
}
const first = 'allow publish, subscribe, receive on plant/#, dev/%c/# for user ann or group ops'
const second = 'deny receive, publish on plant/+/secret for everybody'

describe('which rule decides, and why', () => {
  for (const [words, code, ...lines] of [
    [['ann', 'pub', 'plant/1'], 0, 'allowed: ann may publish to plant/1', `  publish: allowed by F:2:5: ${first}`],
    [['bob', 'pub', 'plant/1'], 5, 'denied: bob may not publish to plant/1', '  publish: no rule allows it'],
    [
      ['bob', 'pub', 'plant/1', '--group', 'ops'],
      0,
      'allowed: bob may publish to plant/1',
      `  publish: allowed by F:2:5: ${first}`,
    ],
    [
      ['ann', 'pub', 'plant/1', '--retain', '--will'],
      5,
      'denied: ann may not publish to plant/1',
      `  publish: allowed by F:2:5: ${first}`,
      '  retain: no rule allows it',
      '  will: no rule allows it',
    ],
    [
      ['ann', 'pub', 'plant/1/secret'],
      5,
      'denied: ann may not publish to plant/1/secret',
      `  publish: denied by F:6:5: ${second}`,
    ],
    [
      ['ann', 'pub', 'dev/pump/x', '--client', 'pump'],
      0,
      'allowed: ann may publish to dev/pump/x',
      `  publish: allowed by F:2:5: ${first}`,
    ],
    [
      ['ann', 'sub', 'plant/#', '--client', 'x'],
      0,
      'allowed: ann may subscribe to plant/#',
      `  subscribe: allowed by F:2:5: ${first}`,
      `  receive: some of the messages: some are kept back by F:6:5: ${second}`,
    ],
    [
      ['ann', 'sub', 'plant/1', '--client', 'x'],
      0,
      'allowed: ann may subscribe to plant/1',
      `  subscribe: allowed by F:2:5: ${first}`,
      `  receive: all of the messages: allowed by F:2:5: ${first}`,
    ],
    [
      ['', 'sub', 'plant/1'],
      0,
      'allowed: an anonymous client may subscribe to plant/1',
      '  subscribe: allowed by F:10:5: allow subscribe on # for everybody',
      '  receive: none of the messages: no rule allows any of them',
    ],
    [
      ['ann', 'sub', 'plant/+/secret', '--client', 'x'],
      0,
      'allowed: ann may subscribe to plant/+/secret',
      `  subscribe: allowed by F:2:5: ${first}`,
      `  receive: none of the messages: denied by F:6:5: ${second}`,
    ],
    [
      ['ann', 'sub', '$share/g/plant/1', '--client', 'x'],
      5,
      'denied: ann may not subscribe to $share/g/plant/1',
      `  subscribe: allowed by F:2:5: ${first}`,
      '  shared: no rule allows it',
    ],
    [
      ['ann', 'pub', '$SYS/x'],
      5,
      'denied: ann may not publish to $SYS/x',
      '  publish: topics under $SYS and $share belong to the broker',
    ],
  ] as [words: string[], code: number, ...lines: string[]][])
    test(words.join(' '), async () => expect(await ask(words)).toMatchObject({ code, lines }))
})

test('a client id that no rule can use is named', async () => {
  const { code, err } = await ask(['ann', 'pub', 'dev/a/x', '--client', '+'])
  expect(code).toBe(5)
  expect(err.replace(file, 'F')).toBe(
    'note: F:2:5: the client id "+" cannot stand in dev/%c/#, so that this topic allows nothing\n',
  )
  expect((await ask(['ann', 'pub', 'plant/1'])).err).toContain(
    'there is no client id in dev/%c/#, so that this topic allows nothing',
  )
})

test("Mosquitto's acl_file", async () => {
  const from = ['--acl-file', acl]
  expect(await ask(['ann', 'pub', 'plant/x', ...from])).toMatchObject({
    code: 5,
    lines: ['denied: ann may not publish to plant/x', '  publish: denied by A:4: topic deny plant/x, for user ann'],
  })
  expect((await ask(['bob', 'pub', 'dev/i/x', '--client', 'i', ...from])).lines[1]).toBe(
    '  publish: allowed by A:5: pattern dev/%c/#',
  )
  const { code, lines } = await ask(['', 'sub', '#', '--client', 'i', ...from])
  expect([code, ...lines.slice(1)]).toEqual([
    0,
    '  subscribe: an acl_file allows every subscription, and keeps back the messages that may not be read',
    '  receive: some of the messages: only what is allowed by A:1: topic read public/#, for anonymous clients, or by A:5: pattern dev/%c/#',
  ])
})

test("a configuration's acl_file beside its rules, and the groups of its users file", async () => {
  const hash = '$7$101$AAAAAAAAAAAAAAAA$'.concat(Buffer.alloc(64).toString('base64'))
  writeFileSync(join(dirname(file), 'users.yaml'), `users:\n  eve: { password: "${hash}", groups: [ops] }\n`, {
    mode: 0o600,
  })
  writeFileSync(file, `${rules}auth:\n  users: users.yaml\n  mosquitto: { acl_file: acl }\n`)
  expect((await ask(['eve', 'pub', 'plant/1'])).lines[1]).toBe(`  publish: allowed by F:2:5: ${first}`)
  expect((await ask(['bob', 'pub', 'plant/1'])).code).toBe(5)
  expect((await ask(['ann', 'pub', 'plant/x'])).lines[1]).toBe(
    '  publish: denied by A:4: topic deny plant/x, for user ann',
  )
  expect((await ask(['ann', 'pub', 'plant/y'])).code).toBe(0)
})

test('as JSON', async () => {
  const { code, out } = await godwit([
    'acl',
    'test',
    'ann',
    'sub',
    'plant/#',
    '--client',
    'x',
    '--json',
    '--config',
    file,
  ])
  expect(code).toBe(0)
  expect(JSON.parse(out)).toEqual({
    schemaVersion: 1,
    user: 'ann',
    action: 'sub',
    topic: 'plant/#',
    clientId: 'x',
    groups: [],
    allowed: true,
    decisions: [
      {
        action: 'subscribe',
        allowed: true,
        why: `allowed by ${file}:2:5: ${first}`,
        rule: { effect: 'allow', text: first, source: file, line: 2, column: 5 },
      },
    ],
    receiving: {
      delivered: 'some',
      why: `some are kept back by ${file}:6:5: ${second}`,
      rules: [{ effect: 'deny', text: second, source: file, line: 6, column: 5 }],
    },
    unusable: [],
  })
})

test('without rules everything is allowed, and it says so', async () => {
  writeFileSync(file, 'logLevel: info\n')
  expect((await ask(['ann', 'pub', 'a'])).lines).toEqual([
    'allowed: ann may publish to a',
    '  publish: there are no rules, so everything is allowed',
  ])
})

describe('what cannot be asked', () => {
  for (const [args, code, wanted] of [
    [['ann', 'pub', 'a'], 2, 'error: which rules? --config FILE, or --acl-file FILE'],
    [['ann', 'pub', 'a/#', '--config', 'F'], 2, 'error: topic name "a/#" contains a wildcard'],
    [['ann', 'sub', 'a/#/b', '--config', 'F'], 2, 'error: "#" must be the whole last level in "a/#/b"'],
    [['ann', 'sub', 'a', '--retain', '--config', 'F'], 2, 'error: --retain and --will go with pub'],
    [['ann', 'read', 'a', '--config', 'F'], 2, "error: command-argument value 'read' is invalid"],
    [['ann', 'pub', 'a', '--config', 'F', '--acl-file', 'A'], 2, 'error: --config and --acl-file: which of them?'],
    [['ann', 'pub', 'a', '--acl-file', '/none'], 3, '--acl-file: cannot read /none: no such file'],
    [['ann', 'pub', 'a', '--config', '/none'], 3, '--config: cannot read /none: no such file'],
    [
      ['ann', 'pub', 'a', '--acl-file', 'F'],
      3,
      'F:1:1: a line begins with topic, pattern or user, not with "permissions:"',
    ],
  ] as const)
    test(args.join(' '), async () => {
      const {
        code: ended,
        out,
        err,
      } = await godwit(['acl', 'test', ...args.map((word) => (word === 'F' ? file : word === 'A' ? acl : word))])
      expect([ended, out]).toEqual([code, ''])
      expect(err.replaceAll(file, 'F')).toContain(wanted)
    })
})
