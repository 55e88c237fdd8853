import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { check } from '../prove/checker.ts'
import { type Program, type StartedProgram, startGodwit, temporary } from '../support/program.ts'
import { noMounts } from './machine.ts'
import { Scene } from './scene.ts'
import { SmallDisk } from './small-disk.ts'

// A disk that fills up, again and again: by somebody else's file, to the last byte or below the reserve.

const cycles = process.env['CI'] === undefined ? 4 : 10
const mebibyte = 2 ** 20
const config = `
logLevel: error
limits: { sysSeconds: 0, inflightMessages: 20 }
store: { segmentBytes: ${mebibyte}, checkpointBytes: ${mebibyte}, reserveBytes: ${2 * mebibyte} }
`

describe.skipIf(noMounts)('a full disk', () => {
  let disk: SmallDisk
  beforeAll(() => {
    disk = new SmallDisk(24)
  })
  afterAll(() => disk.close())

  test(`${cycles} times, every third time with kill -9`, async () => {
    const scene = new Scene()
    const file = join(temporary(), 'godwit.yaml')
    writeFileSync(file, config)
    const start = async (): Promise<StartedProgram> => {
      const data = join(disk.folder, 'data')
      const started = await startGodwit(['--listen', 'tcp://127.0.0.1:0', '--data', data, '--config', file])
      scene.meet(started.port, started.program.code)
      return started
    }
    let { program } = await start()
    const recoveredMs: number[] = []
    const sender = scene.client({ id: 'sender', version: 5 })
    const away = scene.subscriber({ id: 'away', version: 5, receiveMaximum: 10 })
    const gone = scene.subscriber({ id: 'gone', version: 5 })
    const steady = scene.subscriber({ id: 'steady', version: 4 })
    const everybody = [sender, away, gone, steady]
    await scene.connect(...everybody)
    away.subscribe('once/#', 1)
    gone.subscribe('twice/#', 2)
    steady.subscribe('+/x', 1)
    await scene.idle(...everybody)

    for (let cycle = 0; cycle < cycles; cycle++) {
      away.leave()
      gone.leave()
      for (let count = 0; count < 40; count++) {
        if (count % 4 === 0) scene.send(sender, 'twice/x', 2, { bytes: 50_000 })
        else scene.send(sender, 'once/x', 1, { bytes: 50_000 })
      }
      await scene.idle(sender)

      disk.fill(cycle % 2 === 0 ? 0 : mebibyte)
      await untilRefused(scene.port, program)
      await refusesNew(scene, cycle)
      await closesOld(scene, cycle)
      await passesOn(scene, cycle)
      await scene.connect(away)
      await scene.until(() => scene.owedTo(away) === 0)
      for (const client of [sender, away, steady]) client.ping()
      await scene.idle(sender, away, steady)

      if (cycle % 3 === 2) {
        scene.end()
        await program.kill()
        ;({ program } = await start())
        await scene.connect(sender, away, steady)
        await scene.idle(sender, away, steady)
      }

      disk.empty()
      const sinceMs = performance.now()
      await untilAccepted(scene, cycle)
      recoveredMs.push(performance.now() - sinceMs)
      await scene.connect(gone)
      await scene.idle(...everybody)
      await scene.until(() => scene.owed() === 0)
    }

    scene.end()
    await program.kill()
    ;({ program } = await start())
    await scene.connect(...everybody)
    await scene.idle(...everybody)
    for (const topic of ['once/x', 'twice/x']) scene.send(sender, topic, 2, { kind: 'probe' })
    await scene.idle(...everybody)
    await scene.until(() => scene.owed() === 0)
    for (const client of everybody) client.ping()
    await scene.idle(...everybody)
    scene.end()
    process.stderr.write(`room again: taken after ${recoveredMs.map((ms) => ms.toFixed(0)).join(', ')} ms\n`)
    expect(check(scene.history).findings).toEqual([])
    expect(program.err.text).toBe('')
  }, 120_000)
})

/** Publishes until the broker says no. Whoever gets no answer at all waits for the disk, and is let alone. */
async function untilRefused(port: number, { code }: Program): Promise<void> {
  const scene = new Scene()
  scene.meet(port, code)
  for (let made = 0; scene.history.refused === 0; made++) {
    const prober = scene.client({ id: `prober-${made}`, version: 5, passing: true })
    await scene.connect(prober)
    for (let patience = 20; patience > 0 && scene.history.refused === 0; patience--) {
      const { heard } = prober
      if (prober.publisher.size === 0) {
        patience = 20
        scene.send(prober, 'probing', 1, { retain: true })
      }
      prober.ping()
      await scene.until(() => prober.heard > heard)
    }
  }
  scene.end()
}

/** MQTT 5 clients hear why. */
async function refusesNew(scene: Scene, cycle: number): Promise<void> {
  const { refused } = scene.history
  const late = scene.client({ id: `new-${cycle}`, version: 5, passing: true })
  await scene.connect(late)
  for (const topic of ['once/new', 'twice/new']) for (const qos of [1, 2] as const) scene.send(late, topic, qos)
  await scene.idle(late)
  expect(scene.history.refused).toBe(refused + 4)
  late.leave()
}

/** MQTT 3.1.1 cannot say no: no acknowledgement, and the end of the connection. */
async function closesOld(scene: Scene, cycle: number): Promise<void> {
  for (const qos of [1, 2] as const) {
    const old = scene.client({ id: `old-${cycle}-${qos}`, version: 4, passing: true })
    await scene.connect(old)
    const publication = scene.send(old, 'once/old', qos)
    await scene.until(() => old.isOffline)
    expect(publication.ackedAt).toBe(Infinity)
  }
}

/** What nobody has to keep goes its way. */
async function passesOn(scene: Scene, cycle: number): Promise<void> {
  const publisher = scene.client({ id: `from-${cycle}`, version: 4, passing: true })
  const subscriber = scene.client({ id: `to-${cycle}`, version: 4, passing: true })
  await scene.connect(publisher, subscriber)
  subscriber.subscribe('passing', 1)
  await scene.idle(subscriber)
  const { number } = scene.send(publisher, 'passing', 1)
  await scene.idle(publisher)
  await scene.until(() => subscriber.record.received.includes(number))
  publisher.leave()
  subscriber.leave()
}

/** Publishes until the broker takes it. */
async function untilAccepted(scene: Scene, cycle: number): Promise<void> {
  const hopeful = scene.client({ id: `hopeful-${cycle}`, version: 5, passing: true })
  await scene.connect(hopeful)
  for (let taken = false; !taken;) {
    const publication = scene.send(hopeful, 'once/again', 1)
    await scene.idle(hopeful)
    taken = publication.ackedAt < Infinity
  }
  hopeful.leave()
}
