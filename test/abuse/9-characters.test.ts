import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { createLog } from '../../src/cli/log.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { eachRow, join } from '../standard/kit.ts'
import { block, bytes, connect, hex, only5, packet, text, u16, versions, type Version } from '../standard/wire.ts'
import { startBroker } from '../support/broker.ts'
import { RawClient } from '../support/raw.ts'
import { honest } from './kit.ts'

describe('abuse 9: characters that act', () => {
  const odd = {
    CR: hex('61 0d 62'),
    LF: hex('61 0a 62'),
    'CR LF': hex('0d 0a'),
    NUL: hex('61 00 62'),
    'an escape sequence': Buffer.from('a\u001b[2Jb'),
    DEL: hex('61 7f'),
    'a C1 control, which is CSI': Buffer.from('a\u009b2J'),
    NEL: Buffer.from('a\u0085b'),
    'an overlong NUL': hex('61 c080'),
    'an overlong slash': hex('c0af'),
    'half a pair': hex('eda080'),
    'text cut short': hex('61 e282'),
    'beyond U+10FFFF': hex('f4908080'),
    'no UTF-8': hex('ff fe'),
  }
  // The packet by which a name comes, before CONNACK or after.
  const places: Record<string, (name: Buffer, version: Version) => Buffer> = {
    'a client id': (t, v) => connect(v, { payload: [text(t)] }),
    'a user name': (t, v) => connect(v, { flags: 0x82, payload: ['id', text(t)] }),
    'the topic of a will': (t, v) => connect(v, { flags: 6, payload: ['id', only5(v), text(t), 'gone'] }),
    'a topic': (t, v) => packet(0x30, text(t), only5(v)),
    'a filter': (t, v) => packet(0x82, u16(1), only5(v), text(t), 0),
    'a filter to unsubscribe': (t, v) => packet(0xa2, u16(1), only5(v), text(t)),
    'the name of a group': (t, v) =>
      packet(0x82, u16(1), only5(v), text(bytes(Buffer.from('$share/'), t, Buffer.from('/x'))), 0),
  }
  for (const version of versions)
    test(`version ${version}: refused with one line of the log, which nothing in it can break`, async () => {
      const broker = await startBroker()
      const others = await honest(broker, version)
      const rows = Object.entries(places).flatMap(([place, build]) =>
        Object.entries(odd).map(([name, t]) => [`${name} in ${place}`, build(t, version)] as const),
      )
      await eachRow(rows, async (_what, request) => {
        const before = broker.log.length
        const early = request[0] === 0x10
        const client = await (early ? RawClient.open(broker, version) : join(broker, 'client', version))
        client.bytes(request)
        if (version === 5)
          expect((await client.expect(early ? 'connack' : 'disconnect')).reasonCode).toBe(Reason.malformedPacket)
        await client.expectClosed()
        const lines = printed(broker.log.slice(before).filter(({ level }) => level === 'warn'))
        expect(lines).toHaveLength(1)
        expect(lines[0]).toMatch(/^[\x20-\x7e]+$/)
        expect(JSON.parse(lines[0]!)).toMatchObject({ clause: expect.stringMatching(/^MQTT-1\.5\.[34]/) as string })
      })
      expect(broker.node.broker.sessions.size).toBe(2)
      await others.served()
    })

  test('what is only passed on may hold them, and no line of the log is broken by it', async () => {
    const broker = await startBroker()
    const client = await join(broker, 'client')
    const forged = 'bye\r\n{"level":"error","msg":"forged"}\u001b[2J'
    client.bytes(packet(0xe0, 0x04, block(0x1f, forged, 0x26, forged, forged)))
    await client.expectClosed()
    const lines = printed(broker.log)
    expect(lines).toHaveLength(broker.log.length)
    for (const line of lines) expect(JSON.parse(line)).not.toHaveProperty('msg', 'forged')
    expect(lines.join('')).not.toContain('\u001b')
  })

  /** What the command writes of these lines. */
  function printed(log: readonly { level: 'debug' | 'info' | 'warn' | 'error'; fields: object; message: string }[]) {
    const stderr = Object.assign(new PassThrough(), { isTTY: false })
    const pino = createLog('debug', stderr)
    for (const { level, fields, message } of log) pino[level](fields, message)
    const written = String(stderr.read() ?? '')
    return written === '' ? [] : written.trimEnd().split('\n')
  }
})
