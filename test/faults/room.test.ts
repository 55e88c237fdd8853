import { readdirSync, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { check } from '../prove/checker.ts'
import type { Client } from '../prove/client.ts'
import { Bell } from '../support/bell.ts'
import { startGodwit, temporary } from '../support/program.ts'
import { noMounts } from './machine.ts'
import { Scene } from './scene.ts'
import { SmallDisk } from './small-disk.ts'

// The disk comes back: what nobody needs any more leaves it, while the broker runs.

const mebibyte = 2 ** 20
const config = `
logLevel: error
limits: { sysSeconds: 0, queueMessages: 1000000, queueBytes: ${2 ** 30} }
store: { segmentBytes: ${mebibyte}, checkpointBytes: ${mebibyte}, reserveBytes: ${4 * mebibyte} }
`
const messageBytes = 16_000
const backlog = 1300
/** The log may be so large, whatever is in it: what it had better leave alone. */
const fewSegments = 6

/** The log of a broker, whose files come and go. */
class LogFolder {
  readonly #folder: string
  readonly #bell = new Bell()

  constructor(data: string) {
    this.#folder = join(data, 'log')
  }

  get segments(): number {
    return readdirSync(this.#folder).filter((name) => name.endsWith('.seg')).length
  }

  async until(done: () => boolean): Promise<void> {
    const watcher = watch(this.#folder, () => this.#bell.ring())
    try {
      await this.#bell.until(done, () => `${this.segments} segments`)
    } finally {
      watcher.close()
    }
  }
}

async function stage(data: string): Promise<{ scene: Scene; log: LogFolder; stop: () => Promise<string> }> {
  const file = join(temporary(), 'godwit.yaml')
  writeFileSync(file, config)
  const { program, port } = await startGodwit(['--listen', 'tcp://127.0.0.1:0', '--data', data, '--config', file])
  const scene = new Scene()
  scene.meet(port, program.code)
  const stop = async (): Promise<string> => {
    scene.end()
    await program.kill()
    return program.err.text
  }
  return { scene, log: new LogFolder(data), stop }
}

async function offline(scene: Scene, id: string, filter: string): Promise<Client> {
  const client = scene.subscriber({ id, version: 5, receiveMaximum: 1000 })
  await scene.connect(client)
  client.subscribe(filter, 1)
  await scene.idle(client)
  client.leave()
  return client
}

async function drain(scene: Scene, client: Client, messages: number): Promise<void> {
  await scene.connect(client)
  await scene.until(() => client.record.received.length >= messages)
}

describe('a backlog that has been drained', () => {
  for (const [name, pins] of [
    ['leaves nothing behind', 0],
    ['leaves one old message of somebody else behind', 1],
    ['leaves a message of somebody else behind in every segment', 26],
  ] as const)
    test(
      name,
      async () => {
        const { scene, log, stop } = await stage(join(temporary(), 'data'))
        const sender = scene.client({ id: 'sender', version: 5 })
        await scene.connect(sender)
        const away = await offline(scene, 'away', 'all/#')
        const gone = await offline(scene, 'gone', 'all/pin')
        const isPin = (at: number): boolean => pins > 0 && at % (backlog / pins) === 0
        for (let sent = 0; sent < backlog; sent++) {
          scene.send(sender, isPin(sent) ? 'all/pin' : 'all/x', 1, { bytes: messageBytes })
          if (sent % 100 === 99) await scene.idle(sender)
        }
        await scene.idle(sender)
        expect(log.segments).toBeGreaterThan(15)
        await drain(scene, away, backlog)
        await log.until(() => log.segments <= fewSegments)
        await drain(scene, gone, pins)
        expect(await stop()).toBe('')
        expect(check(scene.history).findings).toEqual([])
      },
      60_000,
    )
})

describe.skipIf(noMounts)('a disk that is full of a backlog', () => {
  test('has room again when that is drained', async () => {
    const disk = new SmallDisk(24)
    const { scene, stop } = await stage(join(disk.folder, 'data'))
    try {
      const sender = scene.client({ id: 'sender', version: 5 })
      await scene.connect(sender)
      const away = await offline(scene, 'away', 'all/#')
      while (scene.history.refused === 0) await scene.publish(sender, 'all/x', 1, { bytes: messageBytes })
      await scene.connect(away)
      await scene.until(() => scene.owed() === 0)
      for (let taken = false; !taken;) {
        const publication = scene.send(sender, 'all/x', 1)
        await scene.idle(sender)
        taken = publication.ackedAt < Infinity
      }
      await scene.until(() => scene.owed() === 0)
      expect(await stop()).toBe('')
      expect(check(scene.history).findings).toEqual([])
    } finally {
      await stop()
      disk.close()
    }
  }, 60_000)
})
