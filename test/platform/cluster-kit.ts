import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import type { Log, Stream, StreamEvents } from '../../src/host.ts'
import { newKey } from '../../src/platform/certificates.ts'
import { ClusterDirectory, initCluster } from '../../src/platform/cluster-directory.ts'
import { type IdentityOptions, type NodeIdentity, openNodeIdentity } from '../../src/platform/node-identity.ts'
import { TlsNet, type TlsNetOptions } from '../../src/platform/tls-net.ts'
import { Bell } from '../support/bell.ts'

const cleanups: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

/** Runs `clean` when the test has ended. */
export function later(clean: () => void | Promise<void>): void {
  cleanups.push(clean)
}

export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'godwit-cluster-'))
  later(() => rmSync(path, { recursive: true, force: true }))
  return path
}

export async function cluster(): Promise<{
  path: string
  directory: ClusterDirectory
  pair: { certificate: string; key: string }
}> {
  const path = join(folder(), 'cluster')
  await initCluster(path)
  const read = (name: string) => readFileSync(join(path, name), 'utf8')
  return { path, directory: new ClusterDirectory(path), pair: { certificate: read('ca.pem'), key: read('ca-key.pem') } }
}

export function publicKey(pem = newKey()): KeyObject {
  return createPublicKey(createPrivateKey(pem))
}

/** A log that keeps its lines. */
export class Lines implements Log {
  readonly all: { level: string; message: string; [field: string]: unknown }[] = []
  readonly bell = new Bell()
  debug = this.#writer('debug')
  info = this.#writer('info')
  warn = this.#writer('warn')
  error = this.#writer('error')

  #writer(level: string) {
    return (fields: object, message: string): void => {
      this.all.push({ level, message, ...fields })
      this.bell.ring()
    }
  }

  async until(message: string): Promise<void> {
    await this.bell.until(
      () => this.all.some((line) => line.message.includes(message)),
      () => `a line with "${message}" among ${JSON.stringify(this.all)}`,
    )
  }
}

export function identity(options: Partial<IdentityOptions>): Promise<NodeIdentity> {
  const none = { directory: undefined, joinToken: undefined, join: [], data: undefined }
  return openNodeIdentity({ node: 'a', ...none, log: new Lines(), ...options })
}

/** What comes over one stream. */
export class Ears implements StreamEvents {
  bytes = ''
  over = false
  readonly bell = new Bell()

  constructor(
    readonly stream: Stream,
    readonly peer: string,
  ) {}

  data(chunk: Uint8Array): void {
    this.bytes += Buffer.from(chunk).toString()
    this.bell.ring()
  }

  closed(): void {
    this.over = true
    this.bell.ring()
  }

  say(text: string): void {
    this.stream.write(Buffer.from(text), () => {})
  }

  async heard(text: string): Promise<void> {
    await this.bell.until(
      () => this.bytes === text,
      () => `"${text}", and not "${this.bytes}"`,
    )
  }

  async gone(): Promise<void> {
    await this.bell.until(
      () => this.over,
      () => 'the end of a stream',
    )
  }
}

/** A node that listens on a free port. */
export class Post {
  readonly accepted: Ears[] = []
  readonly bell = new Bell()
  readonly log = new Lines()
  readonly net: TlsNet
  port = 0

  constructor(identity: NodeIdentity, options: Partial<TlsNetOptions> = {}) {
    this.net = new TlsNet({ identity, directory: undefined, log: this.log, ...options })
    later(() => this.net.close())
  }

  async listen(): Promise<this> {
    this.port = await this.net.listen({ host: '127.0.0.1', port: 0 }, (stream, peer) => {
      const ears = new Ears(stream, peer)
      this.accepted.push(ears)
      this.bell.ring()
      return ears
    })
    return this
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  dial(address: string): Promise<Ears> {
    return new Promise((resolve, reject) => {
      this.net.dial(
        address,
        (stream, peer) => {
          const ears = new Ears(stream, peer)
          resolve(ears)
          return ears
        },
        reject,
      )
    })
  }

  /** The stream that came last, when there are so many. */
  async came(count = 1): Promise<Ears> {
    await this.bell.until(
      () => this.accepted.length >= count,
      () => `${count} streams`,
    )
    return this.accepted[count - 1]!
  }
}
