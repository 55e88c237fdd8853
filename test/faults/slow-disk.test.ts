import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { check } from '../prove/checker.ts'
import { noStrace } from './machine.ts'
import { Scene } from './scene.ts'
import { TracedBroker } from './traced.ts'

// Every fdatasync takes half a second: acknowledgements wait for it, and nothing else does.

describe.skipIf(noStrace)('a slow disk', () => {
  test('PINGREQ is answered while a sync is under way', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'godwit-slow-'))
    const config = join(folder, 'godwit.yaml')
    writeFileSync(config, 'logLevel: warn\nlimits: { sysSeconds: 0 }\n')
    const slow = { call: 'fdatasync', effect: 'delay_enter=500000', when: '1+' }
    const broker = new TracedBroker(join(folder, 'data'), config, slow)
    const scene = new Scene()
    try {
      scene.meet((await broker.port())!, broker.ended)
      const sender = scene.client({ id: 'sender', version: 5 })
      const steady = scene.subscriber({ id: 'steady', version: 4 })
      const pinger = scene.client({ id: 'pinger', version: 4, passing: true })
      await scene.connect(sender, steady, pinger)
      steady.subscribe('a', 2)
      await scene.idle(steady)
      const tookMs: number[] = []
      for (const qos of [1, 2, 1] as const) {
        const publication = scene.send(sender, 'a', qos)
        let answered = 0
        for (; publication.ackedAt === Infinity; answered++) {
          const sentMs = performance.now()
          pinger.ping()
          await scene.idle(pinger)
          tookMs.push(performance.now() - sentMs)
        }
        // One or two might slip through before the sync begins, and one when it is over.
        expect(answered).toBeGreaterThan(5)
        await scene.idle(sender)
      }
      await scene.until(() => scene.owed() === 0)
      expect(check(scene.history).findings).toEqual([])
      tookMs.sort((a, b) => a - b)
      const p99Ms = tookMs[Math.floor(tookMs.length * 0.99)]!
      process.stderr.write(`PINGRESP while syncs take 500 ms: p99 ${p99Ms.toFixed(1)} ms of ${tookMs.length}\n`)
    } finally {
      scene.end()
      await broker.close()
      rmSync(folder, { recursive: true, force: true })
    }
  }, 60_000)
})
