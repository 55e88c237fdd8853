import { join } from 'node:path'
import { expect, test } from 'vitest'
import { check } from '../prove/checker.ts'
import { Scene } from '../faults/scene.ts'
import { startGodwit, temporary } from '../support/program.ts'

// Whatever class is set for all: everything is answered, and what should outlive a kill does.

for (const durability of ['fsync', 'os', 'memory'] as const)
  test(`--durability ${durability}`, async () => {
    const data = join(temporary(), 'data')
    const args = ['--listen', 'tcp://127.0.0.1:0', '--data', data, '--durability', durability]
    const first = await startGodwit(args)
    const scene = new Scene()
    scene.meet(first.port, first.program.code)
    const sender = scene.client({ id: 'sender', version: 5 })
    const away = scene.subscriber({ id: 'away', version: 4 })
    await scene.connect(sender, away)
    away.subscribe('a', 2)
    away.subscribe('b', 1)
    await scene.idle(away)
    away.unsubscribe(away.subscriptionTo('b')!)
    await scene.idle(away)
    await scene.publish(sender, 'a', 2)
    await scene.until(() => scene.owed() === 0)
    away.leave()
    for (const qos of [1, 2] as const) await scene.publish(sender, 'a', qos)
    if (durability !== 'memory') {
      scene.end()
      await first.program.kill()
      const second = await startGodwit(args)
      scene.meet(second.port, second.program.code)
      await scene.connect(sender)
    }
    await scene.connect(away)
    await scene.until(() => scene.owed() === 0)
    scene.end()
    expect(check(scene.history).findings).toEqual([])
  })
