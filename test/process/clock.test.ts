import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Socket } from 'node:net'
import { pathToFileURL } from 'node:url'
import type { IConnectPacket } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { dialed, introduced, type Transport, transports } from '../listeners/kit.ts'
import type { TestBroker } from '../support/broker.ts'
import { makeCertificates } from '../support/certificates.ts'
import { type Program, root, startGodwit, temporary } from '../support/program.ts'
import { connectPacket, RawClient } from '../support/raw.ts'

// A process that stands still, and a wall clock that jumps: nobody is sent away for it, nothing expires for it, and what is due comes.

/** FREEZE_SECONDS=60: as long as the row of faults says, and each trouble by itself. */
const { FREEZE_SECONDS: whole } = process.env
const frozenSeconds = Number(whole ?? 2)
const day = 24 * 3600
/** What is given this long lives through any of it. */
const longSeconds = frozenSeconds + 30

interface Trouble {
  readonly name: string
  /** How far the wall clock is off, in seconds, one jump after the other. */
  readonly shifts?: readonly number[]
  readonly frozen?: boolean
}

const single: readonly Trouble[] = [
  { name: `SIGSTOP for ${frozenSeconds} s`, frozen: true },
  { name: 'the wall clock jumps a day ahead', shifts: [day] },
  { name: 'the wall clock jumps a day back', shifts: [-day] },
]
const together: readonly Trouble[] = [
  { name: 'the wall clock jumps a day ahead, and then two back', shifts: [day, -day] },
  { name: `SIGSTOP for ${frozenSeconds} s, from which it comes back a day later`, shifts: [day], frozen: true },
]

/** Clients and what is under way when it begins. */
class Scene {
  readonly #steady: RawClient[] = []
  readonly #pings: NodeJS.Timeout[] = []
  #wills!: RawClient
  #publisher!: RawClient
  /** They have dialled, and said nothing yet. */
  #late!: readonly (readonly [Transport, Socket])[]
  readonly #welcomed: Promise<unknown>[] = []

  private constructor(
    readonly broker: TestBroker,
    readonly program: Program,
    readonly folder: string,
  ) {}

  static async begin(shifts: readonly number[]): Promise<Scene> {
    const folder = temporary()
    const { cert, key } = await makeCertificates()
    writeFileSync(join(folder, 'cert.pem'), cert)
    writeFileSync(join(folder, 'key.pem'), key)
    const scene = await Scene.#start(folder, { SHIFTS: shifts.join() })
    await scene.#fill()
    return scene
  }

  /** Another process on what this one has kept, with a clock that is off by so much. */
  async again(shifted: number): Promise<Scene> {
    for (const timer of this.#pings) clearInterval(timer)
    this.program.signal('SIGKILL')
    await this.program.ended()
    return await Scene.#start(this.folder, { SHIFTED: String(shifted) })
  }

  static async #start(folder: string, shifted: Record<string, string>): Promise<Scene> {
    const config = join(folder, 'godwit.yaml')
    const tls = 'tls: { cert: cert.pem, key: key.pem }'
    // Who has not sent CONNECT by then is late, but not if it is the broker that was away.
    writeFileSync(
      config,
      `listeners: [${transports.map((name) => `{ url: '${name}://127.0.0.1:0'${/tls|wss/.test(name) ? `, ${tls}` : ''} }`).join()}]
admin: { listen: off }
limits: { connectSeconds: 1, sysSeconds: 0 }
`,
    )
    const clock = pathToFileURL(join(root, 'test/support/shifted-clock.mjs')).href
    const env = { NODE_OPTIONS: `--import ${clock}`, ...shifted }
    const args = ['--config', config, '--data', join(folder, 'data')]
    const { port, urls, program } = await startGodwit(args, { env })
    const [, tlsUrl, ws, wss] = urls
    return new Scene({ port, tls: tlsUrl, ws, wss } as TestBroker, program, folder)
  }

  async #fill(): Promise<void> {
    this.#wills = await this.#client('wills')
    await this.#wills.subscribe('wills/#', 1)
    this.#publisher = await this.#client('publisher')
    for (const keepAlive of [1, 2, 10]) {
      const client = await this.#client(`steady ${keepAlive}`, { keepalive: keepAlive })
      this.#steady.push(client)
      // Its own time goes on, whatever becomes of the broker's.
      this.#pings.push(setInterval(() => client.bytes('c000'), keepAlive * 500))
    }
    const away = await this.#client('away', { properties: { sessionExpiryInterval: longSeconds } })
    await away.subscribe('queued', 1)
    await away.drop()
    const expiring = { qos: 1, messageId: 1, properties: { messageExpiryInterval: longSeconds } }
    for (const [topic, retain] of [
      ['queued', false],
      ['retained', true],
    ] as const) {
      this.#publisher.publish(topic, 'x', { ...expiring, retain })
      await this.#publisher.expect('puback')
    }
    await this.#leaves('later', longSeconds)
    this.#late = await Promise.all(
      transports.map(async (transport) => [transport, await dialed(this.broker, transport)] as const),
    )
    // What is due while it lasts, or right after.
    await this.#leaves('due', 1)
  }

  /** One whose will, and whose session, are over `seconds` after it was cut off. */
  async #leaves(name: string, seconds: number): Promise<void> {
    const client = await this.#client(name, {
      properties: { sessionExpiryInterval: seconds },
      will: {
        topic: `wills/${name}`,
        payload: Buffer.from('x'),
        qos: 1,
        retain: false,
        properties: { willDelayInterval: seconds },
      },
    })
    await client.drop()
  }

  /** Done when it is over. */
  async happens({ frozen = false, shifts = [] }: Trouble): Promise<void> {
    if (frozen) this.program.signal('SIGSTOP')
    for (const [transport, socket] of this.#late) this.#welcomed.push(introduced(socket, transport))
    this.#publisher.publish('meanwhile', 'x', { qos: 1, messageId: 2 })
    for (const shift of shifts) {
      this.program.signal('SIGUSR2')
      if (!frozen) await this.program.err.until(`the clock is off by ${shift} s`)
    }
    if (!frozen) return
    await new Promise((resolve) => setTimeout(resolve, frozenSeconds * 1000))
    this.program.signal('SIGCONT')
  }

  /** What was written down before a jump, in a process of before the start. */
  async checkKept(): Promise<void> {
    this.#publisher = await this.#client('publisher')
    await this.#checkLong()
  }

  /** A PUBACK of something that is kept: what was known before it is on the disk. */
  async write(): Promise<void> {
    this.#publisher.publish('written', 'x', { qos: 1, messageId: 3, retain: true })
    for (const id of [2, 3]) expect((await this.#publisher.expect('puback')).messageId).toBe(id)
  }

  async check(): Promise<void> {
    await this.#will('due')
    // And what begins now takes its time, no less and no more.
    await this.#leaves('after', 1)
    await this.#will('after')
    expect((await this.#publisher.expect('puback')).messageId).toBe(2)
    for (const [at, end] of (await Promise.all(this.#welcomed)).entries())
      expect([transports[at], end]).toEqual([transports[at], expect.any(Function)])
    for (const timer of this.#pings) clearInterval(timer)
    for (const client of this.#steady) {
      client.packets.length = 0
      await client.expectQuiet()
      expect(client.closed).toBe(false)
    }
    await this.#checkLong()
    expect((await this.#returns('due')).sessionPresent).toBe(false)
    await this.#wills.expectQuiet()
  }

  /** What was given long is there. */
  async #checkLong(): Promise<void> {
    const { away, sessionPresent } = await this.#returns('away')
    expect(sessionPresent).toBe(true)
    expect(await away.expect('publish')).toMatchObject({ topic: 'queued' })
    await this.#publisher.subscribe('retained')
    const { properties } = await this.#publisher.expect('publish')
    expect((properties as { messageExpiryInterval: number }).messageExpiryInterval).toBeGreaterThan(0)
    expect((await this.#returns('later')).sessionPresent).toBe(true)
  }

  async #will(name: string): Promise<void> {
    const will = await this.#wills.expect('publish')
    expect(will.topic).toBe(`wills/${name}`)
    this.#wills.send({ cmd: 'puback', messageId: will.messageId as number })
  }

  async #returns(clientId: string): Promise<{ away: RawClient; sessionPresent: boolean }> {
    const away = await RawClient.open(this.broker)
    away.send(connectPacket(5, { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }))
    const { sessionPresent } = await away.expect('connack')
    return { away, sessionPresent: sessionPresent as boolean }
  }

  #client(clientId: string, more: Partial<IConnectPacket> = {}): Promise<RawClient> {
    return RawClient.connect(this.broker, 5, { clientId, clean: true, ...more })
  }
}

describe('no wrong disconnect, and no wrong expiry', () => {
  for (const trouble of whole === undefined ? together : [...single, ...together])
    test(trouble.name, { timeout: 30_000 + frozenSeconds * 1000 }, async () => {
      const scene = await Scene.begin(trouble.shifts ?? [])
      await scene.happens(trouble)
      await scene.check()
      expect(scene.program.err.text).not.toMatch(/error|warn/i)
    })
})

describe('a restart after it throws away nothing that was written down before', () => {
  const jumps = [
    ['a day ahead', [day]],
    ['fifty years ahead, and a day back', [50 * 365 * day, 49 * 365 * day]],
  ] as const
  test.each(whole === undefined ? jumps.slice(0, 1) : jumps)('%s', { timeout: 30_000 }, async (_, shifts) => {
    const scene = await Scene.begin(shifts)
    await scene.happens({ name: '', shifts })
    await scene.write()
    const next = await scene.again(shifts.at(-1)!)
    await next.checkKept()
    // Of half a century its certificate has not outlived much.
    const complaints = next.program.err.text.split('\n').filter((line) => !line.includes('cert.pem has expired'))
    expect(complaints.join('\n')).not.toMatch(/error|warn/i)
  })
})
