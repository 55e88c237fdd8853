import { X509Certificate } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { issue, newKey } from '../../src/platform/certificates.ts'
import { ClusterDirectory, initCluster, keyHash, parseApplicant } from '../../src/platform/cluster-directory.ts'
import { certified } from '../../src/platform/cluster-names.ts'
import { parseToken } from '../../src/platform/join-token.ts'
import { cluster, folder, identity, publicKey } from './cluster-kit.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs

describe('init', () => {
  test('makes an authority for ten years and a secret, for the owner alone', async () => {
    const { path, directory } = await cluster()
    expect(readdirSync(path).sort()).toEqual(['ca-key.pem', 'ca.pem', 'join-secret'])
    expect(statSync(path).mode & 0o777).toBe(0o700)
    for (const name of readdirSync(path)) expect(statSync(join(path, name)).mode & 0o777).toBe(0o600)
    const authority = new X509Certificate(directory.certificate)
    expect(authority.ca).toBe(true)
    expect(authority.verify(authority.publicKey)).toBe(true)
    expect(authority.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1')
    expect(certified(authority)).toEqual({ clusterId: directory.clusterId, node: undefined })
    const days = (Date.parse(authority.validTo) - Date.now()) / dayMs
    expect([days > 3649, days <= 3650]).toEqual([true, true])
  })

  test('never overwrites', async () => {
    const { path, directory } = await cluster()
    await expect(initCluster(path)).rejects.toThrow('holds a cluster already')
    expect(new ClusterDirectory(path).clusterId).toBe(directory.clusterId)
    const other = folder()
    writeFileSync(join(other, 'notes'), '')
    await expect(initCluster(other)).rejects.toThrow('is not empty')
    expect(readdirSync(other)).toEqual(['notes'])
  })
})

describe('a directory that cannot be used', () => {
  test('holds none', () => {
    expect(() => new ClusterDirectory(folder())).toThrow('godwit cluster init makes one')
  })

  test.skipIf(process.platform === 'win32')('is open to others', async () => {
    const { path } = await cluster()
    chmodSync(join(path, 'join-secret'), 0o644)
    expect(() => new ClusterDirectory(path)).toThrow('others on this machine may open it')
  })

  test('is damaged', async () => {
    const { path } = await cluster()
    writeFileSync(join(path, 'ca.pem'), 'x')
    expect(() => new ClusterDirectory(path)).toThrow('is damaged: restore it')
  })

  test("has the certificate of a node where the authority's should be", async () => {
    const { path, directory } = await cluster()
    writeFileSync(join(path, 'ca.pem'), await directory.issue('a', publicKey()))
    expect(() => new ClusterDirectory(path)).toThrow('is not the authority')
  })
})

describe("a node's certificate", () => {
  test('says its name and cluster, and is signed by the authority', async () => {
    const { directory } = await cluster()
    const { certificate, key, authority, clusterId } = await identity({ node: 'a-1', directory })
    const parsed = new X509Certificate(certificate)
    expect(parsed.subjectAltName).toBe(`URI:godwit://${clusterId}/node/a-1, DNS:a-1`)
    expect(parsed.ca).toBe(false)
    expect(parsed.checkIssued(new X509Certificate(authority))).toBe(true)
    expect(parsed.verify(new X509Certificate(authority).publicKey)).toBe(true)
    expect(directory.clusterId).toBe(clusterId)
    expect(key).toContain('PRIVATE KEY')
  })

  test('is kept in the data folder, for the owner alone, and comes back', async () => {
    const { directory } = await cluster()
    const data = folder()
    const first = await identity({ directory, data })
    expect(readdirSync(join(data, 'cluster')).sort()).toEqual(['ca.pem', 'node-key.pem', 'node.pem'])
    expect(statSync(join(data, 'cluster')).mode & 0o777).toBe(0o700)
    for (const name of readdirSync(join(data, 'cluster')))
      expect(statSync(join(data, 'cluster', name)).mode & 0o777).toBe(0o600)
    expect(await identity({ directory, data })).toEqual(first)
    expect(await identity({ data })).toEqual(first)
  })

  test('is one of its own at each start of a node that keeps nothing', async () => {
    const { directory } = await cluster()
    const first = await identity({ directory })
    expect((await identity({ directory })).certificate).not.toBe(first.certificate)
    expect((await openAgain(directory, first)).certificate).toBe(first.certificate)
  })

  test('is made anew when two thirds of its life are over, with the same key', async () => {
    const { directory, pair } = await cluster()
    const data = folder()
    const first = await identity({ directory, data })
    const aged = async (days: number) => {
      const old = await issue(pair, directory.clusterId, 'a', publicKey(first.key), Date.now() - days * dayMs)
      writeFileSync(join(data, 'cluster', 'node.pem'), old, { mode: 0o600 })
      return old
    }
    const young = await aged(200)
    expect((await identity({ directory, data })).certificate).toBe(young)
    for (const days of [300, 400]) {
      const old = await aged(days)
      const fresh = await identity({ directory, data })
      expect(fresh.certificate).not.toBe(old)
      expect(fresh.key).toBe(first.key)
      expect(readFileSync(join(data, 'cluster', 'node.pem'), 'utf8')).toBe(fresh.certificate)
    }
  })

  test('another name or another cluster for the same folder is a mistake', async () => {
    const [{ directory }, other] = await Promise.all([cluster(), cluster()])
    const data = folder()
    await identity({ directory, data })
    await expect(identity({ node: 'b', directory, data })).rejects.toThrow('is of node a')
    await expect(identity({ directory: other.directory, data })).rejects.toThrow('is of another cluster')
  })

  test('is needed: from the directory, or with a token', async () => {
    await expect(identity({ data: folder() })).rejects.toThrow(
      '--cluster DIR, where the cluster was made, or --join-token',
    )
  })

  for (const name of ['node.pem', 'node-key.pem'])
    test(`a ${name} that is damaged, or another's`, async () => {
      const { directory } = await cluster()
      const data = folder()
      await identity({ directory, data })
      const file = join(data, 'cluster', name)
      const other = await identity({ node: 'a', directory })
      for (const text of ['x', name === 'node.pem' ? other.certificate : other.key]) {
        writeFileSync(file, text)
        await expect(identity({ directory, data })).rejects.toThrow('is damaged: remove it')
      }
    })

  test.skipIf(process.platform === 'win32')('a key that others may read', async () => {
    const { directory } = await cluster()
    const data = folder()
    await identity({ directory, data })
    chmodSync(join(data, 'cluster', 'node-key.pem'), 0o640)
    await expect(identity({ directory, data })).rejects.toThrow('others on this machine may open it')
  })

  test('a folder that cannot be written', async () => {
    const { directory } = await cluster()
    const data = folder()
    writeFileSync(join(data, 'cluster'), 'a file')
    await expect(identity({ directory, data })).rejects.toThrow(/^cannot (read|make|write) /)
  })
})

async function openAgain(directory: ClusterDirectory, held: Awaited<ReturnType<typeof identity>>) {
  const { openNodeIdentity } = await import('../../src/platform/node-identity.ts')
  const { Lines } = await import('./cluster-kit.ts')
  const options = { node: 'a', directory, joinToken: undefined, join: [], data: undefined, log: new Lines() }
  return openNodeIdentity(options, held)
}

describe('a token', () => {
  const expiresMs = Date.now() + hourMs

  test('is good for one node', async () => {
    const { directory } = await cluster()
    const token = directory.token(expiresMs)
    const key = publicKey()
    const certificate = new X509Certificate(await directory.redeem(token, 'd', key))
    expect(certified(certificate)?.node).toBe('d')
    expect(keyHash(certificate.publicKey)).toBe(keyHash(key))
    await expect(directory.redeem(token, 'e', publicKey())).rejects.toThrow('has been used already')
    await expect(directory.redeem(token, 'e', key)).rejects.toThrow('has been used already')
    // The answer was lost.
    expect(certified(new X509Certificate(await directory.redeem(token, 'd', key)))?.node).toBe('d')
  })

  test('is remembered by another process, too', async () => {
    const { path, directory } = await cluster()
    const token = directory.token(expiresMs)
    await directory.redeem(token, 'd', publicKey())
    await expect(new ClusterDirectory(path).redeem(token, 'e', publicKey())).rejects.toThrow('has been used already')
  })

  test('of two that come at the same moment one is served', async () => {
    const { path, directory } = await cluster()
    const token = directory.token(expiresMs)
    const other = new ClusterDirectory(path)
    const outcomes = await Promise.allSettled([
      directory.redeem(token, 'd', publicKey()),
      other.redeem(token, 'e', publicKey()),
    ])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  test('makes nobody another node', async () => {
    const { directory } = await cluster()
    await directory.issue('a', publicKey())
    await expect(directory.redeem(directory.token(expiresMs), 'a', publicKey())).rejects.toThrow(
      'another node is called a',
    )
    // It was not used up by that.
    const token = directory.token(expiresMs)
    await expect(directory.redeem(token, 'a', publicKey())).rejects.toThrow('another node is called a')
    await directory.redeem(token, 'd', publicKey())
  })

  test('expires', async () => {
    const { directory } = await cluster()
    await expect(directory.redeem(directory.token(Date.now() - 1000), 'd', publicKey())).rejects.toThrow('has expired')
  })

  test('is of one cluster', async () => {
    const [{ directory }, other] = await Promise.all([cluster(), cluster()])
    await expect(directory.redeem(other.directory.token(expiresMs), 'd', publicKey())).rejects.toThrow(
      'not of this cluster',
    )
  })

  test('is no other with any character changed, left out or added', async () => {
    const { directory } = await cluster()
    const token = directory.token(expiresMs)
    const start = 'godwit-join-'.length
    for (let at = 0; at < token.length; at++) {
      const changed = token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1)
      const shorter = token.slice(0, at) + token.slice(at + 1)
      if (at >= start && at % 8 === 0)
        await expect(directory.redeem(changed, 'd', publicKey()), `at ${at}`).rejects.toThrow('not of this cluster')
      else if (at < start) expect(parseToken(changed)).toBeUndefined()
      expect(parseToken(shorter)).toBeUndefined()
      expect(parseToken(`${token}A`)).toBeUndefined()
    }
  })

  test('that was used is forgotten a day after it has expired', async () => {
    const { path, directory } = await cluster()
    mkdirSync(join(path, 'used'))
    const used = (name: string, agoMs: number) =>
      writeFileSync(join(path, 'used', name), `${Date.now() - agoMs} d hash\n`, { mode: 0o600 })
    used('old', 2 * dayMs)
    used('recent', hourMs)
    const token = directory.token(expiresMs)
    await directory.redeem(token, 'd', publicKey())
    expect(readdirSync(join(path, 'used')).sort()).toEqual([parseToken(token)!.number, 'recent'].sort())
  })
})

describe('who asks for a certificate', () => {
  const spki = publicKey().export({ type: 'spki', format: 'der' }).toString('base64')
  const cases: [string, unknown, unknown, boolean][] = [
    ['a name and a key', 'd', spki, true],
    ['no name', undefined, spki, false],
    ['a path', '../a', spki, false],
    ['a name in large letters', 'D', spki, false],
    ['a name with a comma', 'a,b', spki, false],
    ['a long name', 'a'.repeat(64), spki, false],
    ['no key', 'd', undefined, false],
    ['something else for a key', 'd', 'aGVsbG8=', false],
    ['a huge key', 'd', 'A'.repeat(10_000), false],
  ]
  for (const [what, name, key, good] of cases)
    test(what, () => {
      if (good) expect(parseApplicant(name, key).node).toBe(name)
      else expect(() => parseApplicant(name, key)).toThrow(/name|key/)
    })
})

test('a node whose folder was lost gets its name back where the directory is', async () => {
  const { directory } = await cluster()
  const data = folder()
  await identity({ directory, data })
  rmSync(join(data, 'cluster'), { recursive: true })
  const again = await identity({ directory, data })
  expect(certified(new X509Certificate(again.certificate))?.node).toBe('a')
  expect(newKey()).not.toBe(newKey())
})
