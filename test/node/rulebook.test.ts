import { readFileSync } from 'node:fs'
import { beforeEach, expect, test } from 'vitest'
import type { Hooks } from '../../src/access/hooks.ts'
import { rulebookOf } from '../../src/node/rulebook.ts'
import { AuthFiles } from '../support/auth.ts'

// Of a session that comes from the disk or from another node only the name of its user is known. What may it do until that one logs in?

let files: AuthFiles
beforeEach(async () => {
  files = new AuthFiles()
  await files.users({ ann: { password: 'x', groups: ['ops'] } })
  files.write('passwd', readFileSync('test/access/mosquitto-pbkdf2.txt', 'utf8'))
  files.write('secret', `${'x'.repeat(32)}\n`)
})

const rules = 'permissions: [{ effect: allow, who: everybody, actions: [publish], topics: [a] }]'
const jwt = 'jwt: { secretFile: secret, issuer: i, audience: a }'
const authenticate = () => true
const exchange = () => ({ done: true })

const cases: readonly [what: string, text: string, hooks: Hooks, user: string, wanted: object | undefined][] = [
  ['nobody has rules', '', {}, 'ann', { user: 'ann' }],
  ['rules, and a name that nobody had to prove', rules, {}, 'ann', undefined],
  ['a name that a host program has let in', rules, { authenticate }, 'ann', { user: 'ann' }],
  ['one that may have come without an exchange', rules, { exchange }, 'ann', undefined],
  ['one of the users file', 'auth: { users: users.yaml }', {}, 'ann', { user: 'ann', groups: ['ops'] }],
  [
    'one of the users file beside tokens',
    `auth: { users: users.yaml, ${jwt} }`,
    {},
    'ann',
    { user: 'ann', groups: ['ops'] },
  ],
  ['one of a password_file', `auth: { mosquitto: { password_file: passwd }, ${jwt} }`, {}, 'u1', { user: 'u1' }],
  ['one of a token: what else it said is gone', `auth: { users: users.yaml, ${jwt} }`, {}, 'thing', undefined],
  ['one of an HTTP hook', "auth: { http: { url: 'http://127.0.0.1:1/' } }", {}, 'thing', undefined],
]

for (const [what, text, hooks, user, wanted] of cases)
  test(what, () => expect(rulebookOf(files.config(text), hooks).named(user)).toEqual(wanted))
