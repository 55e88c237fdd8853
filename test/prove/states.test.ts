import type { Packet } from 'mqtt-packet'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Received } from './client.ts'
import { History, type Publication, type Qos } from './history.ts'
import { Publisher } from './publisher.ts'
import { Receiver } from './receiver.ts'

// What a correct sender and a correct receiver remember from one connection to the next.

let history: History
let sent: string[]
const send = (packet: Packet): void => {
  const { cmd, messageId } = packet
  sent.push(`${cmd} ${messageId}${cmd === 'publish' && packet.dup ? ' dup' : ''}`)
}
beforeEach(() => {
  history = new History()
  sent = []
})

describe('Publisher', () => {
  let publisher: Publisher
  let publications: Publication[]
  beforeEach(() => {
    publisher = new Publisher(history, 'publisher', send)
    publications = ([1, 2, 2] as const).map((qos: Qos) =>
      history.publication({ publisher: 'publisher', topic: 'a', qos, bytes: 20 }),
    )
    for (const publication of publications) publisher.publish(publication)
    sent.length = 0
  })

  test('sends everything again that is not acknowledged, in its order', () => {
    publisher.pubrec(2, 0)
    publisher.resume()
    expect(sent).toEqual(['pubrel 2', 'publish 1 dup', 'pubrel 2', 'publish 3 dup'])
    expect(publications.map(({ ackedAt }) => ackedAt < Infinity)).toEqual([false, true, false])
  })

  test('holds PUBREL back, and sends it in its order', () => {
    publisher.hold(true)
    publisher.pubrec(2, 0)
    publisher.pubrec(3, 0)
    expect(sent).toEqual([])
    publisher.hold(false)
    expect(sent).toEqual(['pubrel 2', 'pubrel 3'])
  })

  for (const [name, resumes, found] of [
    ['the first PUBREL', 0, 1],
    ['the second PUBREL', 1, 0],
  ] as const)
    test(`"packet id not found" for ${name}: ${found === 1 ? 'forgotten' : 'fine'}`, () => {
      publisher.pubrec(2, 0)
      for (let count = 0; count < resumes; count++) publisher.resume()
      publisher.pubcomp(2, 0x92)
      expect(history.incidents.map(({ kind }) => kind)).toEqual(found === 1 ? ['QoS 2 id forgotten'] : [])
    })

  test('what is refused is not acknowledged', () => {
    publisher.puback(1, 0x97)
    publisher.pubrec(2, 0x97)
    expect([history.refused, publisher.size]).toEqual([2, 1])
    expect(publications.map(({ ackedAt }) => ackedAt)).toEqual([Infinity, Infinity, Infinity])
  })

  test('an acknowledgement that nobody waits for', () => {
    publisher.puback(2, 0)
    publisher.pubrec(1, 0)
    publisher.pubcomp(3, 0)
    expect(history.incidents.map(({ kind }) => kind)).toEqual(['misbehaved', 'misbehaved', 'misbehaved'])
  })
})

test('Receiver drops what it has until it is released, over connections too', () => {
  const receiver = new Receiver(history, send)
  const publish = (qos: Qos): boolean => receiver.publish({ qos, messageId: 7 } as Received)
  expect([publish(1), publish(1), publish(2), publish(2)]).toEqual([true, true, true, false])
  receiver.resume()
  expect([publish(2), history.dropped]).toEqual([false, 2])
  receiver.pubrel({ messageId: 7 } as Received)
  expect(publish(2)).toBe(true)
  expect(sent).toEqual('puback,puback,pubrec,pubrec,pubrec,pubcomp,pubrec'.split(',').map((cmd) => `${cmd} 7`))
})
