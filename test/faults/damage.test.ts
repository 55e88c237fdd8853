import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { check } from '../prove/checker.ts'
import { payloadOf, type Publication } from '../prove/history.ts'
import { type Program, startGodwit, temporary } from '../support/program.ts'
import { Scene } from './scene.ts'

// What becomes of a folder whose files were changed while nobody ran on it.

const config = 'logLevel: info\nlimits: { sysSeconds: 0 }\n'
const bytes = 200

interface Damage {
  readonly name: string
  /** How the first broker ends. A checkpoint at the end leaves the log to be read when somebody asks for it. */
  readonly end: 'SIGKILL' | 'SIGTERM'
  /** Changes the only file of the log. */
  readonly harm: (log: Buffer, publications: readonly Publication[]) => Buffer
  /** Which of the publications are lost. */
  readonly lost: readonly number[]
}

const flip = (log: Buffer, publications: readonly Publication[]): Buffer => {
  const at = log.indexOf(payloadOf(publications[3]!))
  log[at + bytes / 2]! ^= 1
  return log
}

const damages: readonly Damage[] = [
  { name: 'a torn tail', end: 'SIGKILL', harm: (log) => Buffer.concat([log, log.subarray(40, 140)]), lost: [] },
  { name: 'a flipped bit, found by the start', end: 'SIGKILL', harm: flip, lost: [3] },
  { name: 'a flipped bit, found by a reader', end: 'SIGTERM', harm: flip, lost: [3] },
]

for (const { name, end, harm, lost } of damages)
  test(`${name}: it starts, says what is lost, and delivers the rest`, async () => {
    const folder = temporary()
    const data = join(folder, 'data')
    const scene = new Scene()
    const file = join(folder, 'godwit.yaml')
    writeFileSync(file, config)
    const start = async (): Promise<Program> => {
      const { program, port } = await startGodwit(['--listen', 'tcp://127.0.0.1:0', '--data', data, '--config', file])
      scene.meet(port, program.code)
      return program
    }
    const first = await start()
    const sender = scene.client({ id: 'sender', version: 5 })
    const away = scene.subscriber({ id: 'away', version: 5 })
    const other = scene.subscriber({ id: 'other', version: 4 })
    await scene.connect(sender, away, other)
    away.subscribe('a/+', 1)
    other.subscribe('a/other', 1)
    await scene.idle(away, other)
    away.leave()
    other.leave()
    // One by one, so that each is a frame.
    for (let count = 0; count < 6; count++) await scene.publish(sender, count === 5 ? 'a/other' : 'a/x', 1, { bytes })
    scene.end()
    first.signal(end)
    await first.code

    const [segment] = readdirSync(join(data, 'log'))
    const log = join(data, 'log', segment!)
    writeFileSync(log, harm(readFileSync(log), scene.history.publications))

    const second = await start()
    await scene.connect(away, other, sender)
    await scene.until(() => scene.owed() === lost.length)
    for (const client of [away, other, sender]) client.ping()
    await scene.idle(away, other, sender)
    expect(check(scene.history).findings.map(({ what }) => what)).toEqual(
      lost.map((number) => `m${number} (a/x, QoS 1) from sender to away`),
    )
    const damaged = reports(second)
    expect(damaged).toEqual(
      lost.map(() => expect.objectContaining({ copies: 1, sessions: 1, clients: ['away'] }) as unknown),
    )
    for (const { file } of damaged)
      expect(
        readFileSync(join(data, file)).includes(payloadOf(scene.history.publications[3]!).subarray(0, bytes / 2)),
      ).toBe(true)
    if (lost.length === 0) expect(second.err.text).toContain('cut off the torn end of the log')
    scene.end()
    second.signal('SIGTERM')
    expect(await second.code).toBe(0)

    // Behind a checkpoint it is no news.
    const third = await start()
    scene.end()
    await third.kill()
    expect(reports(third)).toEqual([])
  })

interface Report {
  readonly file: string
  readonly copies: number
}

/** What a broker has said about damage. */
function reports({ err }: Program): Report[] {
  const lines = err.text
    .trimEnd()
    .split('\n')
    .filter((line) => line.includes('these messages are lost'))
  return lines.map((line) => JSON.parse(line) as Report)
}
