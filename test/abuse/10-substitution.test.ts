import { describe, expect, test } from 'vitest'
import { Reason } from '../../src/mqtt/reason.ts'
import { eachRow, join } from '../standard/kit.ts'
import { type Version, versions } from '../standard/wire.ts'
import { AuthFiles, token, tokenKey } from '../support/auth.ts'
import { startBroker } from '../support/broker.ts'
import type { RawClient } from '../support/raw.ts'
import { honest, subscribeDenied } from './kit.ts'

// Names with a meaning in filters, in patterns or in paths, where a rule puts the name of a client into its topics.

const rules = `
permissions:
  - { effect: allow, who: everybody, actions: [publish, retain, subscribe, receive, shared], topics: ['dev/%c/#', 'user/%u/#'] }
  - { effect: allow, who: { clientIds: [honest-from, honest-to] }, actions: [publish, subscribe, receive], topics: [t] }
`

/** Names that must open nothing, and such that are names like others. */
const bad = ['#', '+', 'a/b', 'a/#', '/', 'victim/', '/victim', '+/+', 'a+', '$SYS']
const plain = ['.*', '%c', '%u', '%', '\\', '*', 'victim2', 'VICTIM', '../victim', '..'].filter(
  (name) => !name.includes('/'),
)

describe('abuse 10: substitution in permissions', () => {
  for (const version of versions)
    test(`version ${version}: a name opens its own level, or nothing`, async () => {
      const { permissions } = new AuthFiles().config(rules)
      const broker = await startBroker({ config: { permissions }, hooks: { authenticate: () => true } })
      const others = await honest(broker, version)
      const victim = await join(broker, 'victim', version, { username: 'victim' })
      for (const filter of ['dev/victim/#', 'user/victim/#']) expect(await victim.subscribe(filter)).toBe(0)
      const names = [...bad, ...plain]
      await eachRow(
        names.flatMap((name) => [[name, 'plain'] as const, ['plain', name] as const]),
        async (clientId, username) => {
          const client = await join(broker, clientId, version, { username })
          const theirs = ['dev/victim/x', 'user/victim/x', 'dev/#', 'user/#', 'dev/+/x', 'user/+/x', '#', '+/victim/#']
          for (const filter of [...theirs, 'dev/%c/x', '$share/g/dev/victim/#'].filter(
            (it) => !own(it, clientId, username),
          ))
            expect([filter, await client.subscribe(filter)]).toEqual([filter, subscribeDenied(version)])
          for (const topic of ['dev/victim/x', 'user/victim/x', 'dev/x', 'user/x', '$SYS/x'])
            expect([topic, await allowed(client, topic, version)]).toEqual([topic, version === 5 ? false : undefined])
          // Of its two names one is plain, and that one opens its level.
          const good = clientId === 'plain' ? 'dev/plain/x' : 'user/plain/x'
          expect(await allowed(client, good, version)).toBe(version === 5 ? true : undefined)
          expect(await client.subscribe(good)).toBe(0)
          for (const name of plain.filter((name) => name === clientId || name === username)) {
            const topic = name === clientId ? `dev/${name}/x` : `user/${name}/x`
            expect(await client.subscribe(topic)).toBe(0)
          }
          await client.disconnect()
        },
      )
      await victim.expectQuiet()
      await others.served()
    })

  for (const version of versions)
    test(`version ${version}: the same by an acl_file, which grants every subscription and keeps back the messages`, async () => {
      const files = new AuthFiles()
      files.write('acl', 'topic readwrite t\npattern readwrite dev/%c/#\npattern readwrite user/%u/#\n')
      files.write('id.pem', tokenKey)
      const jwt = 'jwt: { key: id.pem, issuer: i, audience: a }'
      const { auth } = files.config(`auth: { ${jwt}, mosquitto: { acl_file: acl } }`)
      const broker = await startBroker({ config: { auth }, allowAnonymous: true })
      const others = await honest(broker, version)
      const exp = Math.floor(Date.now() / 1000) + 3600
      const enter = async (clientId: string, sub: string): Promise<RawClient> =>
        join(broker, clientId, version, { username: sub, password: Buffer.from(await token({ sub, exp })) })
      const victim = await enter('victim', 'victim')
      for (const filter of ['dev/victim/#', 'user/victim/#']) expect(await victim.subscribe(filter)).toBe(0)
      await eachRow(
        [...bad, ...plain].flatMap((name) => [[name, 'plain'] as const, ['plain', name] as const]),
        async (clientId, username) => {
          const client = await enter(clientId, username)
          for (const filter of ['#', 'dev/victim/#', 'user/victim/#', 'dev/+/x', '$share/g/+/victim/#'])
            expect([filter, await client.subscribe(filter)]).toEqual([filter, 0])
          for (const topic of ['dev/victim/x', 'user/victim/x']) {
            expect([topic, await allowed(client, topic, version)]).toEqual([topic, version === 5 ? false : undefined])
            victim.publish(topic, 'theirs')
            expect(await victim.expect('publish')).toMatchObject({ topic, payload: Buffer.from('theirs') })
          }
          await client.expectQuiet()
          // Of its two names one is plain, and that one opens its level; but with a wildcard in the other no pattern holds.
          const good = clientId === 'plain' ? 'dev/plain/x' : 'user/plain/x'
          client.publish(good, 'ours')
          if (!/[+#]/.test(clientId + username)) expect(await client.expect('publish')).toMatchObject({ topic: good })
          await client.expectQuiet()
          await client.disconnect()
        },
      )
      await victim.expectQuiet()
      await others.served()
    })

  /** `%c` is a client id like any other, and has a level of its own. */
  function own(filter: string, clientId: string, username: string): boolean {
    return filter.startsWith(`dev/${clientId}/`) || filter.startsWith(`user/${username}/`)
  }

  /** Was the message taken? A 3.x client is not told. */
  async function allowed(client: RawClient, topic: string, version: Version): Promise<boolean | undefined> {
    client.publish(topic, 'x', { qos: 1, messageId: 1 })
    const { reasonCode } = await client.expect('puback')
    return version === 5 ? reasonCode !== Reason.notAuthorized : undefined
  }
})
