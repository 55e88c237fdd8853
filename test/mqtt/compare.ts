import type { IConnectPacket, IDisconnectPacket, Packet } from 'mqtt-packet'
import { MqttError } from '../../src/mqtt/reason.ts'
import { hex, type Line, type Rig } from './line.ts'
import { theirs } from './readings.ts'
import { cut, reference, refusedEarly } from './reference.ts'
import { type Judged, stricter, type Stricter, tamed } from './stricter.ts'

/** Bytes of a client: on an accepted connection of this version, or (0) from its first byte on. */
export interface Vector {
  readonly name: string
  readonly version: 0 | 3 | 4 | 5
  readonly bytes: Uint8Array
}

/** How both codecs agreed on a vector; `rule` is why we alone refused it. */
export type Verdict = { readonly end: 'taken' | 'refused' } | { readonly end: 'stricter'; readonly rule: Stricter }

export const limits = { packetBytes: 16_384, topicAliases: 32, userProperties: 64, userPropertyBytes: 8192 }

/**
 * Feeds a vector to a connection, cut at `cuts`, and to mqtt-packet, frame by frame: both must read the same, or both
 * refuse, or `stricter` says why not.
 * @throws when they disagree, or when the connection shows a fault of ours
 */
export function compare(rig: Rig, vector: Vector, cuts: readonly number[] = [], bounds = limits): Verdict {
  const line = rig.open(vector.version === 0 ? undefined : vector.version)
  line.feed(...cutAt(vector.bytes, cuts))
  checkEnd(line)
  checkSent(line, vector.version)
  return new Comparison(line, vector, bounds).run()
}

type Header = ReturnType<typeof cut>[number]

/** Walks the frames of a vector, and what the connection said of each. */
class Comparison {
  readonly #line: Line
  readonly #bytes: Uint8Array
  readonly #bounds: typeof limits
  readonly #refused: MqttError | undefined
  readonly #aliases = new Map<number, string>()
  #version: number | undefined
  /** Our readings and PINGRESPs that no frame has accounted for yet. */
  readonly #readings: string[]
  #pings = 0

  constructor(line: Line, vector: Vector, bounds: typeof limits) {
    this.#line = line
    this.#bytes = vector.bytes
    this.#bounds = bounds
    this.#refused = line.fault instanceof MqttError ? line.fault : undefined
    this.#version = vector.version === 0 ? undefined : vector.version
    this.#readings = line.readings.slice()
    if (line.stream.writes.length > 0)
      for (const { bytes } of cut(line.stream.bytes)) if (bytes[0] === 0xd0) this.#pings++
  }

  run(): Verdict {
    for (const header of cut(this.#bytes)) {
      const whole = header.total === header.bytes.length
      const verdict = whole ? this.#frame(header) : this.#part(header)
      if (verdict) return this.#ended(verdict)
    }
    if (this.#refused) throw new Error(`we refuse what is not there: ${this.#refused.message}`)
    return this.#ended({ end: 'taken' })
  }

  /** A whole frame; gives the verdict when nothing behind it counts. */
  #frame(header: Header): Verdict | undefined {
    const found = reference(header.bytes, this.#version)
    if (found === undefined) return this.#tamed(header) ? undefined : this.#bothRefuse(header)
    const { packet } = found
    const topic = this.#resolved(packet)
    const reading = theirs(packet, topic)
    if (reading === 'pingreq' ? this.#pings === 0 : this.#readings.length === 0)
      return this.#weRefuse({ ...header, ...found, ...this.#state(), topic })
    if (reading === 'pingreq') this.#pings--
    else if (reading !== this.#readings[0])
      throw new Error(`mqtt-packet reads ${reading}\nwe read           ${this.#readings[0]}`)
    else this.#readings.shift()
    this.#version ??= (packet as IConnectPacket).protocolVersion
    return packet.cmd === 'disconnect' || tooSmall(this.#line) ? { end: 'taken' } : undefined
  }

  /** A frame that is not whole: we wait for the rest, unless its length never ends, or we refuse its header. */
  #part(header: Header): Verdict {
    const endless = header.body === 0 && header.bytes.length > 4
    if (!this.#refused && !endless) return { end: 'taken' }
    if (refusedEarly(header.bytes)) return this.#bothRefuse(header)
    return this.#weRefuse({ ...header, ...this.#state(), packet: undefined, read: 0, topic: undefined })
  }

  #bothRefuse({ bytes }: Header): Verdict {
    if (this.#refused) return { end: 'refused' }
    throw new Error(`mqtt-packet refuses ${show(bytes)}; we read ${this.#readings[0]}`)
  }

  #weRefuse(frame: Judged): Verdict {
    const refused = this.#refused
    if (!refused) throw new Error(`mqtt-packet takes ${show(frame.bytes)}; we say nothing of it`)
    const rule = stricter.find(({ clause, holds }) => clause === refused.clause && holds(frame))
    if (rule) return { end: 'stricter', rule }
    throw new Error(`we alone refuse ${show(frame.bytes)}, by ${refused.clause}: ${refused.message}`)
  }

  /** Did we take what mqtt-packet takes only without what 3.1 allows? */
  #tamed(header: Header): boolean {
    const packets = tamed({ ...header, version: this.#version }).map((bytes) => reference(bytes, this.#version)?.packet)
    const tame = packets.find((packet) => packet && theirs(packet, undefined) === this.#readings[0])
    if (!tame) return false
    this.#readings.shift()
    this.#version ??= 3
    return true
  }

  #state(): Pick<Judged, 'version' | 'limits'> {
    const version = this.#version
    return { version, limits: version === undefined ? { ...this.#bounds, packetBytes: 65_536 } : this.#bounds }
  }

  /** The topic of a PUBLISH: by its alias, if it has one. */
  #resolved(packet: Packet): string | undefined {
    if (packet.cmd !== 'publish') return undefined
    const alias = packet.properties?.topicAlias
    if (alias === undefined) return packet.topic
    if (packet.topic) this.#aliases.set(alias, packet.topic)
    return this.#aliases.get(alias)
  }

  #ended(verdict: Verdict): Verdict {
    if (this.#readings.length > 0) throw new Error(`we read more than there is: ${this.#readings[0]}`)
    if (this.#pings > 0) throw new Error('we answer more PINGREQs than there are')
    return verdict
  }
}

/** What must hold of any connection, whatever came in. */
function checkEnd(line: Line): void {
  const { rig, connection, stream } = line
  if (rig.errors.length > 0) throw new Error('a fault of ours', { cause: rig.errors.pop() })
  const over = connection.state === 'closed'
  if (line.ends !== (over ? 1 : 0)) throw new Error(`said ${line.ends} times that it is over`)
  if (over !== stream.calls.includes('end')) throw new Error('the stream and the connection end together')
  const { fault } = line
  if (fault && !(fault instanceof MqttError) && !/^the client left/.test(fault.message) && !tooSmall(line))
    throw new Error('ended for a fault of ours', { cause: line.fault })
  if (rig.turn.pages.lentBytes !== 0) throw new Error('a page was not given back')
}

/** What went out reads well, and a v5 client is told why it is refused; others are told nothing. */
function checkSent(line: Line, version: Vector['version']): void {
  const sent = cut(line.stream.bytes).map(({ bytes }) => reference(bytes, line.connection.version)?.packet)
  if (sent.some((packet) => packet === undefined)) throw new Error(`we sent ${show(line.stream.bytes)}`)
  if (!(line.fault instanceof MqttError) || version === 0) return
  const last = sent.at(-1) as IDisconnectPacket | undefined
  const told = last?.cmd === 'disconnect' ? last.reasonCode : undefined
  if (told !== (version === 5 ? line.fault.reason : undefined))
    throw new Error(`we refuse with ${line.fault.reason}, and say ${told}`)
}

/** A client that accepts packets of a few bytes only cannot be told that it is accepted [MQTT-3.1.2-24]. */
function tooSmall(line: Line): boolean {
  return line.fault?.message === 'connack is larger than the client accepts'
}

/** `bytes` in chunks of their own, cut at these places (in order). */
export function cutAt(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const ends = [...cuts, bytes.length]
  return ends.map((end, at) => Uint8Array.prototype.slice.call(bytes, at === 0 ? 0 : ends[at - 1], end))
}

export function example(version: 0 | 3 | 4 | 5, text: string): Vector {
  return { name: text, version, bytes: hex(text) }
}

function show(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('hex')
  return text.length > 400 ? `${text.slice(0, 400)}…` : text
}
