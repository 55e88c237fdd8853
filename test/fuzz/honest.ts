import type { Broker } from '../../src/broker/broker.ts'
import { cut } from '../mqtt/reference.ts'
import { connectBytes } from '../mqtt/line.ts'
import { Finding } from './finding.ts'
import { Peer } from './peer.ts'

const topic = Buffer.from('honest/7c1f0e')

/** Two clients beside the script, in the same broker: each message of the one must come to the other, once. */
export class HonestPair {
  readonly publisher: Peer
  readonly subscriber: Peer
  #count = 0

  constructor(accept: (peer: Peer) => void) {
    this.publisher = new Peer()
    this.subscriber = new Peer()
    for (const peer of [this.publisher, this.subscriber]) {
      accept(peer)
      peer.answers = true
      peer.send(connectBytes(4, { clientId: `honest-${peer === this.publisher ? 'publisher' : 'subscriber'}-7c1f0e` }))
    }
    this.subscriber.send(Uint8Array.of(0x82, topic.length + 5, 0, 1, 0, topic.length, ...topic, 2))
  }

  /** Both have been let in. @throws Finding when they have not */
  begin(): void {
    const types = (peer: Peer): string =>
      cut(peer.heard())
        .map(({ bytes }) => bytes[0]! >> 4)
        .join()
    if (types(this.publisher) !== '2' || types(this.subscriber) !== '2,9')
      throw new Finding('an honest pair', 'it was not let in')
  }

  /** Publishes the next message; its QoS goes round. */
  publish(): void {
    const number = ++this.#count
    const qos = number % 3
    const id = qos > 0 ? [0, 1] : []
    const payload = [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255]
    const content = [0, topic.length, ...topic, ...id, ...payload]
    this.publisher.send(Uint8Array.from([0x30 | (qos << 1), content.length, ...content]))
  }

  /** The last message has come, once, and was acknowledged. */
  check(broker: Broker): void {
    const qos = this.#count % 3
    const heard = cut(this.subscriber.heard()).filter(({ bytes }) => bytes[0]! >> 4 === 3)
    const numbers = heard.map(({ bytes }) => Buffer.from(bytes).readUInt32BE(bytes.length - 4))
    if (numbers.join() !== String(this.#count))
      throw new Finding('an honest pair', `message ${this.#count} at QoS ${qos}; came: ${numbers.join()}`)
    const answers = cut(this.publisher.heard()).map(({ bytes }) => bytes[0]! >> 4)
    const due = [[], [4], [5, 7]][qos]!
    if (answers.join() !== due.join())
      throw new Finding('an honest pair', `answers of type ${answers.join()} at QoS ${qos}`)
    for (const { clientId, online } of broker.sessions.values())
      if (!online || !clientId.startsWith('honest-')) throw new Finding('sessions', `"${clientId}" is left`)
  }
}
