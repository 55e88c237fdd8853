import { describe, expect, test } from 'vitest'
import { HttpHook, type HttpHookSettings } from '../../src/access/http-hook.ts'
import type { Credentials } from '../../src/access/identity.ts'
import { digests } from '../../src/platform/digests.ts'
import { SeededRandom } from '../support/random.ts'
import { shows } from './kit.ts'

interface Posted {
  readonly question: unknown
  answer(body: unknown, status?: number): void
  fail(fault: Error): void
}

/** A service that answers when the test says so. */
class World {
  readonly posted: Posted[] = []
  nowMs = 1000
  wallMs = 1_800_000_000_000
  readonly hook: HttpHook

  constructor(settings: Partial<HttpHookSettings> = {}) {
    const service = {
      post: (json: string) =>
        new Promise<{ status: number; body: Uint8Array }>((resolve, reject) => {
          this.posted.push({
            question: JSON.parse(json),
            answer: (body, status = 200) =>
              resolve({ status, body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)) }),
            fail: reject,
          })
        }),
    }
    const clock = { now: () => this.nowMs, wall: () => this.wallMs }
    const given = { concurrency: 2, waiting: 2, cacheSeconds: 10, cacheEntries: 3, ...settings }
    this.hook = new HttpHook(service, digests, new SeededRandom(1), clock, given)
  }

  async ask(credentials: Credentials, body?: unknown, status?: number): Promise<unknown> {
    const before = this.posted.length
    const answer = Promise.resolve(this.hook.authenticate(credentials))
    if (body !== undefined && this.posted.length > before) this.posted.at(-1)!.answer(body, status)
    return answer
  }
}

test('what it is asked', async () => {
  const world = new World()
  await world.ask(shows('anna', 'pä ss'), { result: 'deny' })
  await world.ask(shows(undefined, undefined, { remote: '[2001:db8::1]:7', protocol: 'wss' }), { result: 'deny' })
  expect(world.posted.map(({ question }) => question)).toEqual([
    { clientId: 'c1', user: 'anna', password: 'pä ss', remote: '192.0.2.7', protocol: 'tcp' },
    { clientId: 'c1', remote: '[2001:db8::1]', protocol: 'wss' },
  ])
})

describe('its answers', () => {
  const allow = { result: 'allow' }
  for (const [name, body, status, wanted] of [
    ['allow', allow, 200, { identity: { user: 'anna', source: 'http' } }],
    ['another user', { ...allow, user: 'berta' }, 200, { identity: { user: 'berta', source: 'http' } }],
    [
      'all that it may say',
      {
        ...allow,
        tenant: 't',
        groups: ['g'],
        expiresAt: 1_800_000_060,
        permissions: [{ effect: 'deny', actions: ['will'], topics: ['#'] }],
      },
      200,
      {
        identity: {
          user: 'anna',
          source: 'http',
          tenant: 't',
          groups: ['g'],
          expiresAt: 1_800_000_060,
          permissions: [
            {
              effect: 'deny',
              who: { everybody: true },
              actions: ['will'],
              topics: ['#'],
              place: { source: 'HTTP hook, rule 1' },
            },
          ],
        },
      },
    ],
    ['ignore', { result: 'ignore' }, 200, 'not-mine'],
    ['deny', { result: 'deny' }, 200, { denied: 'http: denied' }],
    ['nothing', '', 200, { denied: 'http: the answer is no JSON' }],
    ['null', 'null', 200, { denied: 'http: the answer has no result: allow, deny or ignore' }],
    ['true', 'true', 200, { denied: 'http: the answer has no result: allow, deny or ignore' }],
    ['Allow', { result: 'Allow' }, 200, { denied: 'http: the answer has no result: allow, deny or ignore' }],
    ['a page', '<html>allow</html>', 200, { denied: 'http: the answer is no JSON' }],
    ['201', allow, 201, { denied: 'http: the answer has the status 201' }],
    ['302', allow, 302, { denied: 'http: the answer has the status 302' }],
    ['403', allow, 403, { denied: 'http: the answer has the status 403' }],
    ['500', allow, 500, { denied: 'http: the answer has the status 500', busy: true }],
    ['503', allow, 503, { denied: 'http: the answer has the status 503', busy: true }],
    ['a user that is none', { ...allow, user: 7 }, 200, { denied: 'http: the user is no name' }],
    [
      'a tenant that is none',
      { ...allow, tenant: '' },
      200,
      { denied: 'http: the tenant is no name: 1 to 64 letters, digits, ".", "_" and "-"' },
    ],
    [
      'rules that are none',
      { ...allow, permissions: [{}] },
      200,
      { denied: 'http: rule 1 of the permissions is none' },
    ],
    ['an end that is none', { ...allow, expiresAt: 'never' }, 200, { denied: 'http: the end is no time in seconds' }],
    [
      'an end that has been',
      { ...allow, expiresAt: 1_800_000_000 },
      200,
      { denied: 'http: what it allows is over already' },
    ],
  ] as const)
    test(name, async () => expect(await new World().ask(shows('anna', 'x'), body, status)).toEqual(wanted))

  test('allow, and nobody has said who', async () => {
    expect(await new World().ask(shows(), allow)).toEqual({ denied: 'http: the user is no name' })
  })
  test('a password that is no text is not asked about', async () => {
    const world = new World()
    expect(await world.ask(shows('a', undefined, { password: Uint8Array.of(255) }))).toEqual({
      denied: 'http: a password that is no text',
    })
    expect(world.posted).toEqual([])
  })
  test('none: it throws, which denies', async () => {
    const world = new World()
    const answer = world.ask(shows('anna', 'x'))
    world.posted[0]!.fail(new Error('no answer within 5000 ms'))
    await expect(answer).rejects.toThrow('no answer within')
    // And the next is asked again.
    await world.ask(shows('anna', 'x'), allow)
    expect(world.posted.length).toBe(2)
  })
})

describe('what is remembered', () => {
  const allow = { result: 'allow' }

  test('a yes, for its time', async () => {
    const world = new World()
    for (const [nowMs, posts] of [
      [1000, 1],
      [10_999, 1],
      [11_000, 2],
    ] as const) {
      world.nowMs = nowMs
      expect(await world.ask(shows('anna', 'x'), allow)).toHaveProperty('identity')
      expect(world.posted.length).toBe(posts)
    }
  })

  test('not longer than what it allows', async () => {
    const world = new World()
    await world.ask(shows('anna', 'x'), { ...allow, expiresAt: 1_800_000_001 })
    world.nowMs += 1000
    world.wallMs += 1000
    await world.ask(shows('anna', 'x'), { result: 'deny' })
    expect(world.posted.length).toBe(2)
  })

  test('of these very credentials, whatever the port', async () => {
    const world = new World({ cacheEntries: 10 })
    const posts = async (credentials: Credentials): Promise<number> => {
      await world.ask(credentials, allow)
      return world.posted.splice(0).length
    }
    expect(await posts(shows('anna', 'x'))).toBe(1)
    expect(await posts(shows('anna', 'x', { remote: '192.0.2.7:9' }))).toBe(0)
    for (const other of [
      shows('anna', 'y'),
      shows('berta', 'x'),
      shows('anna', 'x', { clientId: 'c2' }),
      shows('anna', 'x', { remote: '192.0.2.8:4711' }),
      shows('anna', 'x', { protocol: 'tls' }),
      shows('anna'),
    ])
      expect(await posts(other)).toBe(1)
  })

  test('nothing of a client whose id was made here: it never comes again', async () => {
    const world = new World()
    await world.ask(shows('anna', 'x'), allow)
    for (const clientId of ['auto-1', 'auto-2', 'auto-3']) {
      const answer = await world.ask(shows('berta', 'x', { clientId, idIsOurs: true }), allow)
      expect(answer).toHaveProperty('identity')
    }
    expect([world.hook.remembered, world.posted.length]).toEqual([1, 4])
    await world.ask(shows('anna', 'x'), allow)
    expect(world.posted.length).toBe(4)
  })

  test('no denial, and no ignore', async () => {
    const world = new World()
    for (const result of ['deny', 'ignore', 'deny', 'allow']) await world.ask(shows('anna', 'x'), { result })
    expect(world.posted.length).toBe(4)
  })

  test('so many, or none', async () => {
    const world = new World()
    for (const name of ['a', 'b', 'c', 'd']) await world.ask(shows(name, 'x'), allow)
    expect(world.hook.remembered).toBe(3)
    const without = new World({ cacheSeconds: 0 })
    await without.ask(shows('a', 'x'), allow)
    expect(without.hook.remembered).toBe(0)
  })
})

test('so many are asked at a time, so many wait, and the next is told that we are busy', async () => {
  const world = new World()
  const names = ['a', 'b', 'c', 'd', 'e']
  const answers = names.map((name) => Promise.resolve(world.hook.authenticate(shows(name, 'x'))))
  expect(world.posted.length).toBe(2)
  expect(await answers[4]).toEqual({ denied: 'http: too many questions wait', busy: true })
  expect(world.hook.refused).toBe(1)
  // The same question is no further one.
  const same = Promise.resolve(world.hook.authenticate(shows('d', 'x')))
  for (let at = 0; at < 4; at++) {
    if (at === 1) world.posted[1]!.fail(new Error('gone'))
    else world.posted[at]!.answer({ result: 'allow' })
    await answers[at]!.catch(() => {})
  }
  expect(world.posted.length).toBe(4)
  expect((await Promise.allSettled([...answers.slice(0, 4), same])).map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
    'fulfilled',
  ])
  // All places are free again.
  for (const name of ['f', 'g']) void Promise.resolve(world.hook.authenticate(shows(name, 'x')))
  expect(world.posted.length).toBe(6)
})
