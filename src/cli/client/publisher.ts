import type { IClientPublishOptions, MqttClient, Packet } from 'mqtt'
import type { QoS } from '../../mqtt/topic.ts'
import { CliError, Exit } from '../io.ts'
import { causeOf, codeOf, reasonWords } from './fault.ts'
import type { Properties } from './properties.ts'

export interface Publication {
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: Properties | undefined
}

/**
 * Sends messages one after another, and says when to wait: for the socket (QoS 0), or for acknowledgements when `window`
 * messages have none (QoS 1 and 2). One caller, who waits for each promise that `send` gives.
 */
export class Publisher {
  /** Messages sent, or for QoS 1 and 2: acknowledged. */
  done = 0
  readonly #client: MqttClient
  readonly #publication: Publication
  readonly #options: IClientPublishOptions
  readonly #window: number
  /** Bytes of payload: a broker closes the connection of whoever sends more. */
  readonly #largest: number
  readonly #version: 3 | 4 | 5
  #open = 0
  #aliased = false
  #refusal: CliError | undefined
  #wake: (() => void) | undefined

  constructor(client: MqttClient, publication: Publication, window: number) {
    const { qos, retain, properties } = publication
    const server = client.serverProperties
    this.#client = client
    this.#publication = publication
    this.#options = { qos, retain, ...(properties && { properties }) }
    this.#version = client.options.protocolVersion ?? 4
    // MQTT 5.0, 3.3.4-7: never more than the server's Receive Maximum, which mqtt.js leaves to us.
    this.#window = qos === 0 ? 1 : Math.min(window, server?.receiveMaximum ?? 65_535)
    this.#largest = (server?.maximumPacketSize ?? Infinity) - Buffer.byteLength(publication.topic) - headerBytes
    if (qos > (server?.maximumQoS ?? 2)) throw refused(`this broker takes QoS ${server?.maximumQoS} at most`)
    if (retain && server?.retainAvailable === false) throw refused('this broker keeps no retained messages')
  }

  /** Sends a message. A promise asks the caller to wait for it before the next one; it rejects when one was refused. */
  send(payload: Buffer): Promise<void> | undefined {
    if (this.#refusal) return Promise.reject(this.#refusal)
    if (payload.length > this.#largest) {
      return Promise.reject(refused(`a message of ${payload.length} bytes: this broker takes ${this.#largest} at most`))
    }
    // A topic alias stands for the topic from the second message on (MQTT 5.0, 3.3.2.3.4).
    const topic = this.#aliased ? '' : this.#publication.topic
    this.#aliased = this.#publication.properties?.['topicAlias'] !== undefined
    this.#open++
    this.#client.publish(topic, payload, this.#options, (fault, packet) => this.#settled(fault, packet))
    return this.#open < this.#window ? undefined : this.#until(() => this.#open < this.#window)
  }

  /** Done when every message is. Rejects when one was refused. */
  async finished(): Promise<void> {
    if (this.#open > 0) await this.#until(() => this.#open === 0)
    if (this.#refusal) throw this.#refusal
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition() && !this.#refusal) await new Promise<void>((wake) => (this.#wake = wake))
    if (this.#refusal) throw this.#refusal
  }

  #settled(fault: Error | undefined, packet: Packet | undefined): void {
    this.#open--
    if (fault) this.#refusal ??= this.#refusalOf(fault, packet)
    else this.done++
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  #refusalOf(fault: Error, packet: Packet | undefined): CliError {
    const code = codeOf(fault)
    if (code === undefined) return new CliError(Exit.failure, `cannot publish: ${causeOf(fault)}`)
    const text = packet?.cmd === 'puback' || packet?.cmd === 'pubrec' ? packet.properties?.reasonString : undefined
    return refused(`the broker refused the message: ${reasonWords(code, this.#version, text)}`)
  }
}

// Fixed header, topic length, packet id and the length of no properties: what a PUBLISH has beside topic and payload.
const headerBytes = 10

function refused(message: string): CliError {
  return new CliError(Exit.refused, message)
}
