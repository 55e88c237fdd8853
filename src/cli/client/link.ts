import { connect, UniqueMessageIdProvider, type IPublishPacket, type MqttClient, type Packet } from 'mqtt'
import { Reason } from '../../mqtt/reason.ts'
import { CliError, Exit, note, type Io } from '../io.ts'
import { inert } from '../terminal.ts'
import { endpointUrl } from './endpoint.ts'
import { causeOf, codeOf, connectFault, reasonWords } from './fault.ts'
import type { ClientSettings } from './settings.ts'

/** Takes a message. The next one is read, and this one acknowledged, when the promise is done. False: not taken. */
export type Receive = (topic: string, packet: IPublishPacket) => Promise<boolean> | boolean

/** One connection to a broker: connects at once, and says in words what goes wrong. */
export class Link {
  readonly client: MqttClient
  /** Done when the broker has accepted us. Rejects with a CliError otherwise. */
  readonly ready: Promise<void>
  /** Rejects when the connection is lost for good; never done before that. */
  readonly lost: Promise<never>
  readonly #settings: ClientSettings
  #fault: Error | undefined
  #text: string | undefined
  #disconnected: number | undefined
  #closing = false

  /** `receive` is there before the first packet: a broker may send what a session has waiting right after CONNACK. */
  constructor(settings: ClientSettings, io: Io, receive: Receive | undefined, reconnect: boolean) {
    this.#settings = settings
    this.client = connect({
      ...settings.options,
      reconnectPeriod: reconnect ? 1000 : 0,
      connectTimeout: 15_000,
      // A broker that is busy at the moment may take us later; `#untilLost` knows which refusals are final.
      reconnectOnConnackError: reconnect,
      messageIdProvider: new UniqueMessageIdProvider(),
    })
    this.#deliver(receive)
    this.#watch(io)
    this.ready = new Promise((resolve, reject) => {
      this.client.once('connect', () => resolve())
      this.client.once('close', () =>
        reject(connectFault(settings.endpoint, settings.version, this.#fault, this.#text)),
      )
    })
    this.lost = this.ready.then(
      () => this.#untilLost(io, reconnect),
      () => new Promise<never>(() => {}),
    )
    // Whoever only awaits one of the two must not be struck down by the other.
    this.ready.catch(() => {})
    this.lost.catch(() => {})
  }

  /**
   * Says goodbye, if there is anybody to say it to, and lets go of the socket. In a `hurry` what is unsent is dropped.
   * @returns what went wrong with the connection: then the broker may not have read all that we sent.
   */
  async close(hurry: boolean): Promise<Error | undefined> {
    this.#closing = true
    const { client } = this
    const { disconnect } = this.#settings.properties
    if (!client.connected) {
      await client.endAsync(true)
      return this.#fault
    }
    // mqtt.js would wait for every acknowledgement first. Whoever needs them has waited; the others want to leave.
    client.outgoing = {}
    await new Promise<void>((resolve) => {
      // A broker that does not close its side must not hold us; while it takes what we send, we wait.
      let impatient: NodeJS.Timeout | undefined
      const wait = (): void => {
        impatient = setTimeout(() => {
          client.stream.destroy()
          resolve()
        }, 1000)
      }
      if (hurry) wait()
      else client.stream.once('finish', wait)
      client.end(false, disconnect ? { properties: disconnect } : {}, () => {
        clearTimeout(impatient)
        resolve()
      })
    })
    return this.#fault
  }

  // mqtt.js reads the next packet when the callback runs, and acknowledges this one unless it got an error.
  #deliver(receive: Receive | undefined): void {
    let topic = ''
    this.client.on('message', (name) => (topic = name))
    this.client.handleMessage = (packet, done) => {
      const settle = (taken: boolean): void => done(taken ? undefined : new Error('not taken'))
      const taken = receive ? receive(topic, packet) : false
      if (typeof taken === 'boolean') settle(taken)
      else taken.then(settle, () => settle(false))
    }
  }

  #watch(io: Io): void {
    const { client } = this
    client.on('error', (fault) => {
      this.#fault = fault
      // mqtt.js reads on after something that is no MQTT, and would wait for an answer to CONNECT.
      client.stream.destroy()
    })
    // mqtt.js keeps errors without a code to itself; a web server that is no broker gives such a one.
    client.stream.on('error', (fault: Error) => (this.#fault ??= fault))
    client.on('packetreceive', (packet) => {
      if (packet.cmd === 'connack') this.#text = packet.properties?.reasonString
      if (packet.cmd === 'disconnect') {
        this.#disconnected = packet.reasonCode ?? 0
        this.#text = packet.properties?.reasonString
      }
    })
    if (!this.#settings.debug) return
    const id = inert(this.#settings.options.clientId ?? '')
    // The first CONNECT is already on its way.
    note(io, `Client ${id} sending CONNECT`)
    client.on('packetsend', (packet) => note(io, `Client ${id} sending ${packetText(packet)}`))
    client.on('packetreceive', (packet) => note(io, `Client ${id} received ${packetText(packet)}`))
  }

  #untilLost(io: Io, reconnect: boolean): Promise<never> {
    const { client } = this
    const { endpoint, version } = this.#settings
    const url = endpointUrl(endpoint)
    return new Promise((_resolve, reject) => {
      let away = false
      client.on('connect', () => {
        away = false
        note(io, `connected to ${url} again`)
      })
      client.on('close', () => {
        if (this.#closing) return
        const code = this.#disconnected ?? codeOf(this.#fault)
        const why = code === undefined ? causeOf(this.#fault) : reasonWords(code, version, this.#text)
        if (reconnect && (code === undefined || passing.has(code))) {
          if (!away) note(io, `lost the connection to ${url}: ${why}; trying again every second`)
          away = true
          this.#fault = this.#disconnected = this.#text = undefined
          return
        }
        reject(new CliError(code === undefined ? Exit.failure : Exit.refused, `lost the connection to ${url}: ${why}`))
      })
    })
  }
}

// Refusals after which it makes sense to come back; 3 is the server unavailable of 3.1.1.
const passing = new Set<number>([
  3,
  Reason.serverUnavailable,
  Reason.serverBusy,
  Reason.serverShuttingDown,
  Reason.connectionRateExceeded,
])

function packetText(packet: Packet): string {
  const id = packet.messageId ? ` m${packet.messageId}` : ''
  const name = packet.cmd.toUpperCase()
  if (packet.cmd === 'publish') {
    const { qos, retain, topic, payload } = packet
    return `${name}${id} q${qos} r${retain ? 1 : 0} '${inert(topic)}' (${payload.length} bytes)`
  }
  if (packet.cmd === 'connack') return `${name} (${packet.reasonCode ?? packet.returnCode})`
  return `${name}${id}`
}
