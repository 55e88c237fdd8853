import { connect, type Socket } from 'node:net'
import mqttPacket, { type IConnectPacket, type ISubscribePacket, type Packet } from 'mqtt-packet'
import {
  type History,
  payloadOf,
  type Publication,
  publicationOf,
  type Qos,
  type Subscriber,
  type Subscription,
} from './history.ts'
import { Publisher } from './publisher.ts'
import { Receiver } from './receiver.ts'

/** Any packet, as mqtt-packet reads it. */
export interface Received {
  readonly cmd: Packet['cmd']
  readonly messageId: number
  readonly reasonCode?: number
  readonly returnCode?: number
  readonly sessionPresent?: boolean
  readonly granted?: readonly number[]
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
}

export interface ClientOptions {
  readonly id: string
  readonly version: 4 | 5
  /** Does its session end with its connection? */
  readonly passing?: boolean
  /** Of MQTT 5. */
  readonly receiveMaximum?: number
}

export interface Will {
  readonly publication: Publication
  /** Of MQTT 5. */
  readonly delaySeconds: number
}

const sessionSeconds = 86_400

/**
 * An MQTT client that does what the standard asks and keeps the state of its session through every end of a connection,
 * its own and the broker's. It reads and writes by mqtt-packet, and writes down what it was promised.
 */
export class Client {
  readonly options: ClientOptions
  readonly publisher: Publisher
  readonly receiver: Receiver
  readonly record: Subscriber
  /** Packets that have come. */
  heard = 0
  /** What a new subscription was told, when somebody wants to know. */
  onRetained: ((topic: string, number: number) => void) | undefined
  /** The connection has ended, and not by this client. */
  onCut: (() => void) | undefined
  /** CONNACK has come. */
  onAccepted: (() => void) | undefined
  /** Something has come, or the connection has ended by itself. */
  onNews: (() => void) | undefined
  readonly #history: History
  #socket: Socket | undefined
  #accepted = false
  /** The broker has said CONNACK to it before: there is a session. */
  #known = false
  #will: Will | undefined
  readonly #requests = new Map<number, { subscription: Subscription; leaves: boolean }>()
  #lastRequest = 0
  #pings = 0

  constructor(options: ClientOptions, history: History) {
    this.options = options
    this.#history = history
    this.record = { id: options.id, subscriptions: [], received: [] }
    const send = (packet: Packet): void => this.#send(packet)
    this.publisher = new Publisher(history, options.id, send)
    this.receiver = new Receiver(history, send)
  }

  /** Has it no connection, and is not getting one? */
  get isOffline(): boolean {
    return this.#socket === undefined
  }

  get isOnline(): boolean {
    return this.#accepted
  }

  /** Has everything that it has asked been answered? */
  get isIdle(): boolean {
    return this.#accepted && this.publisher.size === 0 && this.#requests.size === 0 && this.#pings === 0
  }

  connect(port: number, will?: Will): void {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket = socket
    this.#will = will
    const parser = mqttPacket.parser({ protocolVersion: this.options.version })
    parser.on('packet', (packet) => {
      if (this.#socket !== socket) return
      this.#packet(packet as unknown as Received)
      this.onNews?.()
    })
    parser.on('error', (fault: Error) => this.#blame(`sent what is no MQTT: ${fault.message}`))
    socket.on('data', (chunk) => this.#socket === socket && parser.parse(chunk))
    socket.on('error', () => {})
    socket.on('close', () => this.#socket === socket && this.#cut())
    this.#send(this.#connectPacket(will))
  }

  /** Ends the connection without a word, as a client that crashed does. */
  crash(): void {
    this.#socket?.destroy()
    this.#down()
  }

  /** Says goodbye: no will. */
  leave(): void {
    this.#send({ cmd: 'disconnect', reasonCode: 0 })
    this.#socket?.end()
    this.#will = undefined
    this.#down()
  }

  subscribe(filter: string, qos: Qos): void {
    const subscription: Subscription = {
      filter,
      qos,
      askedAt: this.#history.now(),
      grantedAt: Infinity,
      leavingAt: Infinity,
      leftAt: Infinity,
    }
    this.record.subscriptions.push(subscription)
    this.#ask(subscription, false)
  }

  unsubscribe(subscription: Subscription): void {
    subscription.leavingAt = this.#history.now()
    this.#ask(subscription, true)
  }

  /** The subscription to `filter` that has been granted and not been given up. */
  subscriptionTo(filter: string): Subscription | undefined {
    return this.record.subscriptions.findLast(
      (known) => known.filter === filter && known.grantedAt < Infinity && known.leavingAt === Infinity,
    )
  }

  /** Is a SUBSCRIBE or UNSUBSCRIBE without its answer? */
  get isAsking(): boolean {
    return this.#requests.size > 0
  }

  /** What the broker has sent so far has come when `isIdle` says so again. */
  ping(): void {
    this.#pings++
    this.#send({ cmd: 'pingreq' })
  }

  #connectPacket(will: Will | undefined): IConnectPacket {
    const { id, version, passing = false, receiveMaximum } = this.options
    const packet: IConnectPacket = {
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: version,
      clientId: id,
      clean: passing,
      keepalive: 0,
    }
    if (version === 5)
      packet.properties = {
        sessionExpiryInterval: passing ? 0 : sessionSeconds,
        ...(receiveMaximum !== undefined && { receiveMaximum }),
      }
    if (will) {
      const { topic, qos, retain } = will.publication
      packet.will = { topic, qos, retain, payload: payloadOf(will.publication) }
      if (version === 5) packet.will.properties = { willDelayInterval: will.delaySeconds }
      will.publication.sentAt = this.#history.now()
    }
    return packet
  }

  #packet(packet: Received): void {
    this.heard++
    const { publisher, receiver } = this
    const { cmd, messageId, reasonCode = 0 } = packet
    switch (cmd) {
      case 'connack':
        return this.#connack(packet)
      case 'publish':
        if (receiver.publish(packet)) this.#deliver(packet)
        return
      case 'pubrel':
        return receiver.pubrel(packet)
      case 'puback':
        return publisher.puback(messageId, reasonCode)
      case 'pubrec':
        return publisher.pubrec(messageId, reasonCode)
      case 'pubcomp':
        return publisher.pubcomp(messageId, reasonCode)
      case 'suback':
      case 'unsuback':
        return this.#answered(packet)
      case 'pingresp':
        this.#pings--
        return
      default:
        return this.#blame(`sent ${cmd.toUpperCase()}${reasonCode > 0 ? ` 0x${reasonCode.toString(16)}` : ''}`)
    }
  }

  #connack({ reasonCode, returnCode, sessionPresent }: Received): void {
    const code = reasonCode ?? returnCode
    if (code !== 0) return this.#blame(`refused CONNECT with ${code}`)
    this.#accepted = true
    const isThere = sessionPresent === true
    if (isThere) {
      this.receiver.resume()
      this.publisher.resume()
    } else {
      if (this.#known) this.#history.incident('session vanished', `of ${this.options.id}`)
      this.receiver.restart()
      this.publisher.restart()
    }
    this.#askAgain(this.#known && !isThere)
    this.#known = !this.options.passing
    this.onAccepted?.()
  }

  #deliver({ topic, payload, retain }: Received): void {
    // It clears a retained message; nobody can tell which.
    if (payload.length === 0) return
    const { publications } = this.#history
    const publication = publicationOf(publications, topic, payload)
    if (!publication) {
      const start = JSON.stringify(payload.toString('latin1', 0, 20))
      this.#history.incident('damaged', `${payload.length} bytes (${start}) came on ${topic} that nobody sent`)
    } else if (retain) this.onRetained?.(topic, publication.number)
    else this.record.received.push(publication.number)
  }

  #ask(subscription: Subscription, leaves: boolean): void {
    const messageId = (this.#lastRequest = (this.#lastRequest % 65_535) + 1)
    this.#requests.set(messageId, { subscription, leaves })
    const { filter, qos } = subscription
    const subscribe: ISubscribePacket = { cmd: 'subscribe', messageId, subscriptions: [{ topic: filter, qos }] }
    this.#send(leaves ? { cmd: 'unsubscribe', messageId, unsubscriptions: [filter] } : subscribe)
  }

  /** SUBSCRIBE and UNSUBSCRIBE without an answer; all that stood, if the session is a new one. */
  #askAgain(isNew: boolean): void {
    const open = [...this.#requests.values()]
    this.#requests.clear()
    for (const { subscription, leaves } of open) this.#ask(subscription, leaves)
    if (!isNew) return
    const standing = this.record.subscriptions.filter(
      ({ grantedAt, leavingAt }) => grantedAt < Infinity && leavingAt === Infinity,
    )
    for (const subscription of standing) this.#ask(subscription, false)
  }

  #answered({ cmd, messageId, granted }: Received): void {
    const request = this.#requests.get(messageId)
    if (!request || (cmd === 'unsuback') !== request.leaves)
      return this.#blame(`sent ${cmd.toUpperCase()} ${messageId}, which nobody waits for`)
    this.#requests.delete(messageId)
    const { subscription, leaves } = request
    if (leaves) subscription.leftAt = Math.min(subscription.leftAt, this.#history.now())
    else if (granted?.[0] !== subscription.qos)
      this.#blame(`granted ${granted?.join()} for ${subscription.filter}, not ${subscription.qos}`)
    else subscription.grantedAt = Math.min(subscription.grantedAt, this.#history.now())
  }

  #cut(): void {
    const wasAccepted = this.#accepted
    this.#down()
    if (wasAccepted) this.onCut?.()
    this.onNews?.()
  }

  #down(): void {
    if (this.#accepted && this.#will) this.#will.publication.ackedAt = this.#history.now()
    this.#will = undefined
    this.#socket = undefined
    this.#accepted = false
    this.#pings = 0
  }

  #send(packet: Packet): void {
    if (!this.#socket || (!this.#accepted && packet.cmd !== 'connect')) return
    this.#socket.write(mqttPacket.generate(packet, { protocolVersion: this.options.version }))
  }

  #blame(what: string): void {
    this.#history.incident('misbehaved', `the broker ${what} (${this.options.id})`)
  }
}
