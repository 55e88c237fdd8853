import { describe, expect, test } from 'vitest'
import { accept, publish, startScripted } from './brokers.ts'
import { Godwit, godwit } from './godwit.ts'

describe('a broker that does not grant what is asked', () => {
  for (const [name, version, granted, code, out, err] of [
    ['one filter, 3.1.1', 4, [0x80], 5, '', 'error: the broker refused "a": failure (0x80)\n'],
    ['one filter, 5', 5, [0x87], 5, '', 'error: the broker refused "a": not authorized (0x87)\n'],
    [
      'every filter',
      5,
      [0x87, 0x8f],
      5,
      '',
      'the broker refused "a": not authorized (0x87)\nerror: the broker refused "b": topic filter invalid (0x8f)\n',
    ],
    ['one of two', 5, [0x97, 1], 0, 'x\n', 'the broker refused "a": quota exceeded (0x97)\n'],
    ['less QoS', 5, [0, 1], 0, 'x\n', '"a" comes with QoS 0 at most\n'],
  ] as const)
    test(name, async () => {
      const port = await startScripted((packet, conversation) => {
        if (packet.cmd !== 'subscribe') return accept(packet, conversation)
        conversation.send({ cmd: 'suback', messageId: packet.messageId!, granted: [...granted] })
        if (granted.some((reason) => reason < 0x80)) conversation.send(publish('b', 'x'))
      }, version)
      const filters = granted.length === 1 ? ['-t', 'a'] : ['-t', 'a', '-t', 'b']
      const version_ = version === 5 ? '5' : '311'
      const args = ['sub', '-V', version_, '-p', String(port), ...filters, '-q', '1', '-C', '1']
      expect(await godwit(args)).toEqual({ code, out, err })
    })
})

describe('a lost connection', () => {
  /** A broker that ends the first connection by `end`, and sends a message on the second. */
  function flaky(end: number | undefined): Promise<number> {
    let connections = 0
    return startScripted((packet, conversation) => {
      accept(packet, conversation)
      if (packet.cmd !== 'subscribe') return
      if (++connections > 1) return conversation.send(publish('a', 'back'))
      if (end !== undefined) conversation.send({ cmd: 'disconnect', reasonCode: end })
      conversation.socket.end()
    })
  }

  for (const [name, end, why] of [
    ['without a word', undefined, 'the broker closed the connection'],
    ['because the broker stops', 0x8b, 'server shutting down (0x8b)'],
  ] as const)
    test(`${name}: connects again, and subscribes again`, async () => {
      const port = await flaky(end)
      const url = `mqtt://127.0.0.1:${port}`
      expect(await godwit(['sub', '-V', '5', '-p', String(port), '-t', 'a', '-C', '1'])).toEqual({
        code: 0,
        out: 'back\n',
        err: `lost the connection to ${url}: ${why}; trying again every second\nconnected to ${url} again\n`,
      })
    })

  test('because somebody else took the client id: coming back would only throw them out', async () => {
    const port = await flaky(0x8e)
    expect(await godwit(['sub', '-V', '5', '-p', String(port), '-t', 'a', '-C', '1'])).toEqual({
      code: 5,
      out: '',
      err: `error: lost the connection to mqtt://127.0.0.1:${port}: session taken over (0x8e)\n`,
    })
  })

  for (const [name, version, code, wanted] of [
    ['not authorized any more', 5, 0x87, 'not authorized (0x87)'],
    ['a password that is wrong now', 4, 4, 'bad user name or password (0x04)'],
  ] as const)
    test(`and then ${name}: no use to try again`, async () => {
      let connections = 0
      const port = await startScripted((packet, conversation) => {
        if (packet.cmd === 'connect' && ++connections > 1) {
          return conversation.send({ cmd: 'connack', reasonCode: code, returnCode: code, sessionPresent: false })
        }
        accept(packet, conversation)
        if (packet.cmd === 'subscribe') conversation.socket.end()
      }, version)
      const url = `mqtt://127.0.0.1:${port}`
      expect(await godwit(['sub', '-V', version === 5 ? '5' : '311', '-p', String(port), '-t', 'a'])).toEqual({
        code: 5,
        out: '',
        err:
          `lost the connection to ${url}: the broker closed the connection; trying again every second\n` +
          `error: lost the connection to ${url}: ${wanted}\n`,
      })
    })

  test('and then a broker that is busy at first', async () => {
    let connections = 0
    const port = await startScripted((packet, conversation) => {
      if (packet.cmd === 'connect' && ++connections === 2) {
        return conversation.send({ cmd: 'connack', reasonCode: 0x89, sessionPresent: false })
      }
      accept(packet, conversation)
      if (packet.cmd !== 'subscribe') return
      if (connections === 1) conversation.socket.end()
      else conversation.send(publish('a', 'back'))
    })
    const { code, out } = await godwit(['sub', '-V', '5', '-p', String(port), '-t', 'a', '-C', '1'])
    expect([code, out, connections]).toEqual([0, 'back\n', 3])
  })

  test('Ctrl-C while it tries again', async () => {
    const port = await flaky(undefined)
    const command = new Godwit(['sub', '-V', '5', '-p', String(port), '-t', 'a'])
    await command.err.until('trying again')
    command.signal('SIGINT')
    expect(await command.code).toBe(130)
  })
})

describe('flags that make no sense end with 2', () => {
  for (const [args, wanted] of [
    [[], 'to what? -t FILTER'],
    [
      ['-t', 'a/#/b'],
      `option '-t, --topic <filter>' argument 'a/#/b' is invalid. "#" must be the whole last level in "a/#/b".`,
    ],
    [['-t', 'a', '-F', '%Z'], `option '-F, --format <format>' argument '%Z' is invalid. "%Z" is unknown.`],
    [['-t', 'a', '-F', '%t', '-v'], `option '-F, --format <format>' cannot be used with option '-v, --verbose'`],
    [['-t', 'a', '--json', '-v'], `option '--json' cannot be used with option '-v, --verbose'`],
    [
      ['-t', 'a', '-C', '0'],
      `option '-C, --count <count>' argument '0' is invalid. It is a whole number from 1 to 4294967295.`,
    ],
    [
      ['-t', 'a', '-W', 'x'],
      `option '-W, --wait <seconds>' argument 'x' is invalid. It is a number from 0.001 to 2000000.`,
    ],
    [['-t', 'a', '--retain-as-published'], '--retain-as-published needs -V mqttv5'],
    [
      ['-t', 'a', '-D', 'publish', 'content-type', 'x'],
      '-D: "publish" is not one of connect, subscribe, unsubscribe, will, disconnect',
    ],
  ] as const)
    test(args.join(' ') || 'none', async () => {
      expect(await godwit(['sub', ...args])).toEqual({ code: 2, out: '', err: `error: ${wanted}\n` })
    })
})
