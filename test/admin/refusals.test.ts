import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Refusals } from '../../src/admin/api.ts'
import { Denied } from '../../src/access/hooks.ts'
import { dialed, gone, greeted } from '../listeners/kit.ts'
import { AuthFiles } from '../support/auth.ts'
import { startBroker, temporaryFolder, type TestBroker } from '../support/broker.ts'
import { listenerTls, makeCertificates } from '../support/certificates.ts'
import { RawClient } from '../support/raw.ts'

// Whoever is not let in is counted, and the admin listener tells of it.

async function refusalsOf({ node }: TestBroker, data: string): Promise<Refusals> {
  const token = readFileSync(join(data, 'admin-token'), 'utf8').trim()
  const answer = await fetch(`${node.admin}/v1/refusals`, { headers: { authorization: `Bearer ${token}` } })
  expect(answer.status).toBe(200)
  return (await answer.json()) as Refusals
}

function counted(counts: Readonly<Record<string, number>>): object {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0))
}

test('GET /v1/refusals: connections and log-ins that were refused, by why', async () => {
  const files = new AuthFiles()
  const data = temporaryFolder()
  await files.users({ anna: { password: 'right' }, bert: { password: 'right' } })
  const { auth, audit } = files.config('auth: { users: users.yaml }\naudit: { file: audit.log }')
  const broker = await startBroker({
    data,
    tls: listenerTls(await makeCertificates()),
    limits: { connectSeconds: 1 },
    hooks: {
      authenticate({ username }) {
        if (username === 'bert') throw new Denied(undefined, 'bert is on leave')
      },
    },
    config: { auth, audit, admin: { host: '127.0.0.1', port: 0, chosen: true, tokenFile: undefined } },
  })
  const enter = (username: string, password: string): Promise<unknown> =>
    RawClient.connect(broker, 5, { clientId: username, username, password: password as never }).catch(() => {})

  expect(counted((await refusalsOf(broker, data)).connections)).toEqual({})
  const noTls = await dialed(broker, 'tls')
  noTls.write('GET / HTTP/1.1\r\n\r\n')
  await gone(noTls)
  expect(await greeted(broker, 'ws', { headers: { origin: 'https://elsewhere.example' } })).toBeUndefined()
  const silent = await dialed(broker, 'tls')
  await gone(silent)
  await enter('anna', 'wrong')
  await enter('nobody', 'right')
  await enter('bert', 'right')
  await enter('anna', 'right')

  const { connections, rates, logIns, reasons } = await refusalsOf(broker, data)
  expect(counted(connections)).toEqual({ 'bad-tls': 1, 'bad-web-socket': 1, 'too-late': 1 })
  expect(counted(rates)).toEqual({})
  expect(counted(logIns.denied)).toEqual({ users: 1, nobody: 1, 'host-program': 1 })
  expect({ ...logIns, denied: 0 }).toEqual({ denied: 0, waited: 1, waiting: 0, failing: 2, forgotten: 0 })
  expect(reasons['badUserNameOrPassword']).toBe(2)

  await broker.node.close()
  const lines = readFileSync(join(files.folder, 'audit.log'), 'utf8').trim().split('\n')
  const [denied] = lines.flatMap((line) => {
    const { event, user, by, why } = JSON.parse(line) as Record<string, unknown>
    return by === 'host-program' ? [{ event, user, why }] : []
  })
  expect(denied).toEqual({ event: 'log-in-denied', user: 'bert', why: 'bert is on leave' })
})
