import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseUsers } from '../../src/access/users-file.ts'
import { blockingHasher } from '../../src/platform/password-work.ts'
import { checkOf } from '../access/kit.ts'
import { godwit, Godwit, type Given } from './godwit.ts'

let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-users-'))
  file = join(folder, 'users.yaml')
})
afterEach(() => rmSync(folder, { recursive: true }))

const users = (args: readonly string[], given: Given = {}) =>
  godwit(['users', ...args], { env: { GODWIT_USERS_FILE: file }, ...given })
const text = (): string => readFileSync(file, 'utf8')

async function opens(name: string, password: string): Promise<boolean> {
  const hash = parseUsers(text(), []).get(name)!.password!
  return checkOf(blockingHasher).matches(hash, Buffer.from(password))
}

describe('users add', () => {
  test('makes the file, for its owner alone, with the password that stdin has', async () => {
    expect(await users(['add', 'anna'], { input: 's3cret\n' })).toEqual({
      code: 0,
      out: '',
      err: 'anna may log in (a running broker reads the file at SIGHUP)\n',
    })
    expect(text()).toMatch(/^users:\n {2}anna:\n {4}password: "\$argon2id\$v=19\$[^"]+"\n$/)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(await opens('anna', 's3cret')).toBe(true)
    expect(await opens('anna', 's3cret\n')).toBe(false)
  })

  test('with all of it, from a file, and named by --file', async () => {
    writeFileSync(join(folder, 'password'), 'pä ss\r\n')
    const flags = ['--tenant', 'north', '--group', 'a', '--group', 'b c', '--scram']
    const args = ['add', 'bob', '--file', file, '--password-file', join(folder, 'password'), ...flags]
    expect((await users(args, { env: {} })).code).toBe(0)
    const bob = parseUsers(text(), []).get('bob')!
    expect(bob).toMatchObject({ tenant: 'north', groups: ['a', 'b c'], scram: { iterations: 4096 } })
    expect(await opens('bob', 'pä ss')).toBe(true)
  })

  test('comments stay, and so does everybody else', async () => {
    const before =
      '# ours\nusers:\n  # the first\n  "7": { password: "$6$c2FsdA==$' +
      Buffer.alloc(64).toString('base64') +
      '" } # old\n'
    writeFileSync(file, before, { mode: 0o600 })
    await users(['add', 'anna'], { input: 'x' })
    expect(text().startsWith(before)).toBe(true)
    await users(['rm', 'anna', '--yes'])
    expect(text()).toBe(before)
  })

  test('a link stays one, and its file is changed', async () => {
    await users(['add', 'anna'], { input: 'x' })
    symlinkSync(file, join(folder, 'link'))
    await users(['add', 'bob', '--file', join(folder, 'link')], { input: 'x' })
    expect([...parseUsers(text(), []).keys()]).toEqual(['anna', 'bob'])
  })

  test('two at a time: both are in, or one is told', async () => {
    const ends = await Promise.all(['a', 'b', 'c'].map((name) => users(['add', name], { input: 'x' })))
    const done = ends.filter(({ code }) => code === 0).length
    expect(done).toBeGreaterThan(0)
    expect(parseUsers(text(), []).size).toBe(done)
    for (const { code, err } of ends)
      if (code !== 0) expect([code, err]).toEqual([3, expect.stringContaining('somebody else is writing')])
  })

  test('a draft that somebody died over is no lock', async () => {
    writeFileSync(`${file}.new`, 'half')
    expect((await users(['add', 'anna'], { input: 'x' })).err).toContain('try again in some seconds')
    utimesSync(`${file}.new`, 1, 1)
    expect((await users(['add', 'anna'], { input: 'x' })).code).toBe(0)
  })

  for (const [name, args, given, code, err] of [
    [
      'there already',
      ['add', 'there'],
      { input: 'x' },
      5,
      'there is in FILE already: godwit users passwd gives another password',
    ],
    [
      'no file named',
      ['add', 'anna'],
      { input: 'x', env: {} },
      2,
      'which users file? --file FILE, or --config FILE of a broker that has one',
    ],
    ['no password', ['add', 'anna'], { input: '\n' }, 2, 'the password is empty'],
    ['two lines', ['add', 'anna'], { input: 'a\nb\n' }, 2, 'a password is one line'],
    ['no UTF-8', ['add', 'anna'], { input: Buffer.from([255]) }, 2, 'the password is no UTF-8'],
    ['too long', ['add', 'anna'], { input: 'x'.repeat(65_536) }, 2, 'a password has at most 65535 bytes'],
    [
      'no name',
      ['add', 'a\u001b'],
      { input: 'x' },
      2,
      'no user can be named "a\\u001b": 1 to 256 characters, none for control',
    ],
    [
      'no tenant',
      ['add', 'a', '--tenant', ''],
      { input: 'x' },
      2,
      'no tenant can be named "": 1 to 64 letters, digits, ".", "_" and "-"',
    ],
    ['no such password file', ['add', 'a', '--password-file', '/nowhere'], {}, 1, 'cannot read /nowhere: no such file'],
    [
      'no such folder',
      ['add', 'a', '--file', '/nowhere/users'],
      { input: 'x' },
      3,
      "cannot write /nowhere/users.new: ENOENT: no such file or directory, open '/nowhere/users.new'",
    ],
    [
      'SCRAM and a strange password',
      ['add', 'a', '--scram'],
      { input: 'a\u0007b' },
      2,
      'SCRAM does not allow some character of this password',
    ],
    ['passwd of nobody', ['passwd', 'anna'], { input: 'x' }, 4, 'no user is named anna in FILE'],
    ['rm of nobody', ['rm', 'anna', '--yes'], {}, 4, 'no user is named anna in FILE'],
    [
      'rm, and nobody to ask',
      ['rm', 'there'],
      {},
      2,
      'Remove there from FILE? There is nobody to ask here: --yes does it',
    ],
    ['ls without a file', ['ls', '--file', '/nowhere'], {}, 3, 'cannot read /nowhere: no such file'],
  ] as const)
    test(`refused: ${name}`, async () => {
      await users(['add', 'there'], { input: 'x' })
      const before = text()
      const ended = await users(args, given)
      expect(ended).toEqual({
        code,
        out: '',
        err: `error: ${err.replace('FILE a', `${file} a`).replace('in FILE', `in ${file}`).replace('from FILE?', `from ${file}?`)}\n`,
      })
      expect(text()).toBe(before)
    })

  test('a password on the command line: no such thing', async () => {
    expect((await users(['add', 'anna', 'secret'])).code).toBe(2)
    expect((await users(['add', 'anna', '--password', 'secret'])).code).toBe(2)
  })
})

describe('on a terminal', () => {
  async function typed(keys: string): Promise<{ code: number; err: string; raw: boolean }> {
    const command = new Godwit(['users', 'add', 'anna'], { terminal: true, env: { GODWIT_USERS_FILE: file } })
    await command.err.until('Password: ')
    expect(command.raw).toBe(true)
    command.stdin.write(keys)
    return { code: await command.code, err: command.err.text, raw: command.raw }
  }

  test('it asks twice, and shows nothing', async () => {
    const asked = 'Password: \nOnce more: \n'
    expect(await typed('pa\u007fä ss\rpä ss\r')).toEqual({
      code: 0,
      err: `${asked}anna may log in (a running broker reads the file at SIGHUP)\n`,
      raw: false,
    })
    expect(await opens('anna', 'pä ss')).toBe(true)
  })

  for (const [name, keys, code, err] of [
    [
      'Ctrl-U begins anew',
      'wrong\u0015right\nright\n',
      0,
      'anna may log in (a running broker reads the file at SIGHUP)\n',
    ],
    ['not the same', 'secret\nSecret\n', 2, 'error: that was not the same password twice\n'],
    ['nothing', '\n', 2, 'error: the password is empty\n'],
    ['Ctrl-C', 'secret\u0003', 130, ''],
  ] as const)
    test(name, async () => {
      const ended = await typed(keys)
      expect([ended.code, ended.raw]).toEqual([code, false])
      expect(ended.err.replaceAll(/(Password|Once more): \n/g, '')).toBe(err)
      expect(ended.err).not.toContain('ecret')
    })
})

describe('users passwd', () => {
  test('another password, and what SCRAM keeps goes with it', async () => {
    await users(['add', 'anna', '--scram', '--group', 'g'], { input: 'old' })
    const before = parseUsers(text(), []).get('anna')!
    expect(await users(['passwd', 'anna'], { input: 'new' })).toMatchObject({
      code: 0,
      err: 'anna has another password (a running broker reads the file at SIGHUP)\n',
    })
    const after = parseUsers(text(), []).get('anna')!
    expect(after.scram!.salt).not.toEqual(before.scram!.salt)
    expect(after.groups).toEqual(['g'])
    expect([await opens('anna', 'old'), await opens('anna', 'new')]).toEqual([false, true])
  })
})

test('users rm asks', async () => {
  await users(['add', 'anna'], { input: 'x' })
  const command = new Godwit(['users', 'rm', 'anna'], { terminal: true, env: { GODWIT_USERS_FILE: file } })
  await command.err.until('[y/N] ')
  command.stdin.write('n\n')
  expect(await command.code).toBe(5)
  expect(parseUsers(text(), []).size).toBe(1)
  expect((await users(['rm', 'anna', '--yes'])).err).toBe('anna is gone (a running broker reads the file at SIGHUP)\n')
  expect(parseUsers(text(), []).size).toBe(0)
})

describe('users ls', () => {
  beforeEach(async () => {
    await users(['add', 'anna', '--tenant', 't', '--group', 'g', '--group', 'h', '--scram'], { input: 'planted' })
    await users(['import', 'test/access/mosquitto-sha512.txt'])
  })

  test('in a pipe, on a terminal, as JSON; never a hash', async () => {
    const { code, out } = await users(['ls'])
    expect(code).toBe(0)
    expect(out.split('\n').slice(0, 3)).toEqual([
      'USER\tPASSWORD\tSCRAM\tTENANT\tGROUPS',
      'anna\targon2id\ttrue\tt\tg h',
      'u1\tsha512\tfalse\t-\t-',
    ])
    const shown = (await users(['ls', '--no-headers'], { terminal: true })).out
    expect(shown).toMatch(/^anna +argon2id +yes +t +g h *\n/)
    const json = (await users(['ls', '--json'])).out
    expect(JSON.parse(json)).toMatchObject({
      schemaVersion: 1,
      users: [
        { name: 'anna', password: 'argon2id', scram: true, tenant: 't', groups: ['g', 'h'] },
        { name: 'u1', tenant: null, groups: [] },
        {},
        {},
        {},
        {},
        {},
      ],
    })
    expect(out + shown + json).not.toMatch(/\$|planted/)
  })

  test('a file that others may read: 3', async () => {
    chmodSync(file, 0o644)
    expect(await users(['ls'])).toEqual({
      code: 3,
      out: '',
      err: `error: others on this machine may open ${file}: chmod 600 ${file}\n`,
    })
  })
})

describe('users import', () => {
  test('takes the hashes as they are', async () => {
    expect((await users(['import', 'test/access/mosquitto-pbkdf2.txt', '--dry-run'])).err).toBe(
      `would import 6 users into ${file}\n`,
    )
    expect(() => text()).toThrow()
    expect((await users(['import', 'test/access/mosquitto-pbkdf2.txt'])).err).toBe(
      `6 users imported into ${file} (a running broker reads the file at SIGHUP)\n`,
    )
    expect(await opens('u3', 'pä$$wörd 日本')).toBe(true)
  })

  test('all or nothing: somebody is there already, or a line is wrong', async () => {
    await users(['add', 'u2'], { input: 'x' })
    const before = text()
    const { code, err } = await users(['import', 'test/access/mosquitto-pbkdf2.txt'])
    expect([code, err]).toEqual([5, expect.stringContaining('u2; --replace gives them the password')])
    const bad = join(folder, 'bad')
    writeFileSync(bad, `a:planted-secret\n${readFileSync('test/access/mosquitto-pbkdf2.txt', 'utf8')}`)
    expect(await users(['import', bad])).toEqual({
      code: 3,
      out: '',
      err: `${bad}:1:1: what "a" has is no hash of a password\nerror: a mistake in the configuration\n`,
    })
    expect(text()).toBe(before)
    expect((await users(['import', 'test/access/mosquitto-pbkdf2.txt', '--replace'])).code).toBe(0)
    expect(await opens('u2', 'a')).toBe(true)
  })
})

describe('a users file with mistakes: each is named, nothing that stands there is shown, and nothing changes', () => {
  const hash = '"$6$c2FsdA==$' + Buffer.alloc(64).toString('base64') + '"'
  for (const [wrong, problems] of [
    ['users: [', ['1:9: YAML: ']],
    ['user: {}', ['1:1: unknown key: only "users" stands here']],
    ['[]', ['1:1: must be a map with users']],
    ['users: 1', ['1:8: users: must be a map of users']],
    ['users:\n  anna: planted', ['2:9: users.anna: must be a map, written out']],
    ['users:\n  anna: {}', ['2:9: users.anna: has neither password nor scram']],
    ['users:\n  anna: { password: planted }', ['2:21: users.anna.password: is no hash of a password']],
    ['users:\n  anna: { password: 17 }', ['2:21: users.anna.password: must be text']],
    [`users:\n  anna: { scram: planted, password: ${hash} }`, ['2:18: users.anna.scram: is no SCRAM verifier']],
    [
      `users:\n  anna: { password: ${hash}, groups: g, tenant: [] }`,
      ['.groups: must be a list of names', '.tenant: must be 1 to 64 letters'],
    ],
    [
      `users:\n  anna: { password: ${hash}, pasword: x }`,
      ['users.anna: unknown key: password, scram, tenant and groups are known'],
    ],
    [`users:\n  anna: { password: ${hash} }\n  anna: { password: ${hash} }`, ['3:3: YAML: duplicate key']],
    [`users:\n  "": { password: ${hash} }`, ['2:3: no name of a user']],
    [`users:\n  a: &a { password: ${hash} }\n  b: *a`, ['3:6: users.b: must be a map, written out']],
  ] as const)
    test(wrong.replaceAll(hash, '…'), async () => {
      writeFileSync(file, wrong, { mode: 0o600 })
      const { code, err } = await users(['add', 'carl'], { input: 'x' })
      expect(code).toBe(3)
      for (const problem of problems) expect(err).toContain(problem)
      expect(err).not.toMatch(/planted|c2FsdA/)
      expect(text()).toBe(wrong)
    })
})

describe('the file that a configuration names', () => {
  const configured = (text: string): string => {
    const config = join(folder, 'godwit.yaml')
    writeFileSync(config, text)
    return config
  }

  test('before it is there, and beside the configuration', async () => {
    const config = configured('auth: { users: users.yaml, jwt: { key: nowhere, issuer: i, audience: a } }')
    expect((await users(['add', 'anna', '--config', config], { input: 'x', env: {} })).code).toBe(0)
    expect((await users(['ls', '--no-headers'], { env: { GODWIT_CONFIG: config } })).out).toMatch(/^anna\t/)
  })

  for (const [text, err] of [
    ['data: x', 'error: CONFIG names no users file: auth: { users: FILE }\n'],
    [
      'auth: { user: x }',
      'CONFIG:1:9: auth.user: unknown key, did you mean "users"?\nerror: a mistake in the configuration\n',
    ],
  ] as const)
    test(text, async () => {
      const config = configured(text)
      const ended = await users(['ls', '--config', config], { env: {} })
      expect(ended).toEqual({ code: 3, out: '', err: err.replace('CONFIG', config) })
    })
})

test('godwit start refuses a users file that others may read', async () => {
  const config = join(folder, 'godwit.yaml')
  writeFileSync(config, 'auth: { users: users.yaml }')
  writeFileSync(file, '', { mode: 0o600 })
  chmodSync(file, 0o640)
  expect((await godwit(['start', '--config', config])).err).toBe(
    `${config}:1:16: auth.users: cannot read ${file}: others on this machine may open ${file}: chmod 600 ${file}\nerror: a mistake in the configuration\n`,
  )
})
