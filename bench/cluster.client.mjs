// A bare MQTT client for measurements: what it sends it builds with mqtt-packet, and each answer ends a promise.
import net from 'node:net'
import mqttPacket from 'mqtt-packet'

export class Client {
  #socket
  #waiting = new Map()
  #packetId = 0
  #closed = false
  /** Told of every message: (topic, payload, packet). */
  message = () => {}

  static connect(port, clientId, { clean = true, expirySeconds = 0 } = {}) {
    const client = new Client()
    return client.#open(port, {
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 5,
      clientId,
      clean,
      keepalive: 0,
      properties: { sessionExpiryInterval: expirySeconds, receiveMaximum: 65_535 },
    })
  }

  async #open(port, connect) {
    const parser = mqttPacket.parser({ protocolVersion: 5 })
    parser.on('packet', (packet) => this.#packet(packet))
    this.#socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.on('data', (chunk) => parser.parse(chunk))
    this.#socket.on('error', () => {})
    this.#socket.on('close', () => this.#over())
    this.#send(connect)
    this.connack = await this.#answer('connack', undefined)
    if (this.connack.reasonCode !== 0) throw new Error(`CONNACK 0x${this.connack.reasonCode.toString(16)}`)
    return this
  }

  subscribe(filters, qos = 1) {
    const messageId = this.#id()
    const subscriptions = [filters].flat().map((topic) => ({ topic, qos }))
    this.#send({ cmd: 'subscribe', messageId, subscriptions })
    return this.#answer('suback', messageId)
  }

  unsubscribe(filters) {
    const messageId = this.#id()
    this.#send({ cmd: 'unsubscribe', messageId, unsubscriptions: [filters].flat() })
    return this.#answer('unsuback', messageId)
  }

  /** QoS 1; gives the reason code of PUBACK. */
  async publish(topic, payload) {
    const messageId = this.#id()
    this.#send({ cmd: 'publish', topic, payload, qos: 1, messageId })
    return (await this.#answer('puback', messageId)).reasonCode ?? 0
  }

  end() {
    this.#socket.destroy()
  }

  #id() {
    this.#packetId = (this.#packetId % 65_535) + 1
    return this.#packetId
  }

  #send(packet) {
    this.#socket.write(mqttPacket.generate(packet, { protocolVersion: 5 }))
  }

  #answer(cmd, messageId) {
    const { promise, resolve, reject } = pending()
    if (this.#closed) reject(new Error('the connection is closed'))
    this.#waiting.set(`${cmd} ${messageId}`, { resolve, reject })
    return promise
  }

  #packet(packet) {
    if (packet.cmd === 'publish') {
      if (packet.qos === 1) this.#send({ cmd: 'puback', messageId: packet.messageId })
      return this.message(packet.topic, packet.payload, packet)
    }
    const key = `${packet.cmd} ${packet.messageId}`
    this.#waiting.get(key)?.resolve(packet)
    this.#waiting.delete(key)
  }

  #over() {
    this.#closed = true
    for (const { reject } of this.#waiting.values()) reject(new Error('the connection was closed'))
    this.#waiting.clear()
  }
}

function pending() {
  let [resolve, reject] = []
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]))
  return { promise, resolve, reject }
}
