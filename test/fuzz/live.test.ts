import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { TestBroker } from '../support/broker.ts'
import { startGodwit, temporary } from '../support/program.ts'
import { RawClient } from '../support/raw.ts'
import { bombard } from './live.ts'

// FUZZ_LIVE_FRAMES=1000000 npx vitest run test/fuzz/live.test.ts

const wanted = Number(process.env.FUZZ_LIVE_FRAMES ?? 20_000)
const seed = Number(process.env.FUZZ_SEED ?? 1)

test(`${wanted} mutated frames from seed ${seed}, over TCP and WebSocket, to a broker in a process of its own`, async () => {
  const file = join(temporary(), 'godwit.yaml')
  // What a stranger leaves behind is soon gone, and is kept in memory only.
  writeFileSync(
    file,
    `listeners: [{ url: "tcp://127.0.0.1:0" }, { url: "ws://127.0.0.1:0/mqtt" }]
durability: memory
limits: { sessionExpirySeconds: 1, keepAliveSeconds: 30, connectSeconds: 30, retainedMessages: 50, sysSeconds: 1 }
logLevel: error
`,
  )
  const { program, port, urls } = await startGodwit(['--config', file])
  const target = { port, ws: urls[1]! }
  const join5 = (clientId: string) => RawClient.connect(target as unknown as TestBroker, 5, { clientId })
  const [publisher, subscriber] = [await join5('honest-publisher'), await join5('honest-subscriber')]
  await subscriber.subscribe('honest/7c1f0e', 2)
  let number = 0
  const { frames, connections } = await bombard(target, {
    wanted,
    seed,
    async checked() {
      const payload = `message ${++number}`
      publisher.publish('honest/7c1f0e', payload, { qos: 1, messageId: 1 })
      expect((await publisher.expect('puback')).messageId).toBe(1)
      const came = await subscriber.expect('publish')
      expect(String(came.payload)).toBe(payload)
      subscriber.send({ cmd: 'puback', messageId: came.messageId as number })
      await subscriber.expectQuiet()
    },
  })
  expect(frames).toBeGreaterThanOrEqual(wanted)
  expect(connections).toBeGreaterThan(wanted / 100)
  // All strangers are gone: the broker itself says so.
  await subscriber.subscribe('$SYS/broker/clients/connected')
  while (String((await subscriber.expect('publish')).payload) !== '2');
  program.signal('SIGTERM')
  const { code, err } = await program.ended()
  expect({ code, err }).toEqual({ code: 0, err: '' })
}, 300_000)
