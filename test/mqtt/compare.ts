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
  const pings =
    line.stream.writes.length === 0 ? 0 : cut(line.stream.bytes).filter(({ bytes }) => bytes[0] === 0xd0).length
  let answered = 0
  let next = 0
  const aliases = new Map<number, string>()
  const refused = line.fault instanceof MqttError ? line.fault : undefined
  let version = vector.version === 0 ? undefined : vector.version
  for (const header of cut(vector.bytes)) {
    const whole = header.total === header.bytes.length
    const found = whole && !header.broken ? reference(header.bytes, version) : undefined
    const topic = resolve(found?.packet, aliases)
    const frame: Judged = {
      ...header,
      version,
      packet: found?.packet,
      read: found?.read ?? 0,
      topic,
      limits: version === undefined ? { ...bounds, packetBytes: 65_536 } : bounds,
    }
    if (!whole && !header.broken && !refused) break
    const mine = line.readings[next]
    if (found === undefined && whole) {
      const tame = tamed(frame)
        .map((bytes) => reference(bytes, version)?.packet)
        .find((packet) => packet && theirs(packet, undefined) === mine)
      if (tame) {
        next++
        if (tame.cmd === 'connect') version = 3
        continue
      }
      if (mine !== undefined || !refused)
        throw new Error(`mqtt-packet refuses ${show(header.bytes)}; we do not: ${mine}`)
      return { end: 'refused' }
    }
    if (refused && mine === undefined && !whole && refusedEarly(header.bytes)) return { end: 'refused' }
    const reading = found && theirs(found.packet, topic)
    if (reading === 'pingreq' ? answered < pings : mine !== undefined) {
      if (reading === 'pingreq') answered++
      else if (reading !== mine) throw new Error(`mqtt-packet reads ${reading}\nwe read           ${mine}`)
      else next++
      if (version === undefined) version = (found!.packet as { protocolVersion: 3 | 4 | 5 }).protocolVersion
      if (found!.packet.cmd === 'disconnect' || tooSmall(line)) return done(line, next)
      continue
    }
    if (!refused) throw new Error(`mqtt-packet reads ${reading}; we do not say anything of ${show(header.bytes)}`)
    const rule = stricter.find(({ clause, holds }) => clause === refused.clause && holds(frame))
    if (rule === undefined)
      throw new Error(`we alone refuse ${show(header.bytes)}, by ${refused.clause}: ${refused.message}`)
    done(line, next)
    return { end: 'stricter', rule }
  }
  if (refused) throw new Error(`we refuse what is not there: ${refused.message}`)
  return done(line, next)
}

function done(line: Line, next: number): Verdict {
  if (next < line.readings.length) throw new Error(`we read more than there is: ${line.readings[next]}`)
  return { end: 'taken' }
}

/** What must hold of any connection, whatever came in. */
function checkEnd(line: Line): void {
  const { rig, connection, stream } = line
  if (rig.errors.length > 0) throw new Error('a fault of ours', { cause: rig.errors.pop() })
  const over = connection.state === 'closed'
  if (line.ends !== (over ? 1 : 0)) throw new Error(`said ${line.ends} times that it is over`)
  if (over !== stream.calls.includes('end')) throw new Error('the stream and the connection end together')
  if (
    over &&
    line.fault &&
    !(line.fault instanceof MqttError) &&
    !/^the client left/.test(line.fault.message) &&
    !tooSmall(line)
  )
    throw new Error('ended for a fault of ours', { cause: line.fault })
  if (rig.turn.pages.lentBytes !== 0) throw new Error('a page was not given back')
}

/** A client that accepts packets of a few bytes only cannot be told that it is accepted [MQTT-3.1.2-24]. */
function tooSmall(line: Line): boolean {
  return line.fault?.message === 'connack is larger than the client accepts'
}

function resolve(packet: object | undefined, aliases: Map<number, string>): string | undefined {
  const { cmd, topic, properties } = (packet ?? {}) as {
    cmd?: string
    topic?: string
    properties?: { topicAlias?: number }
  }
  const alias = properties?.topicAlias
  if (cmd !== 'publish' || alias === undefined) return topic
  if (topic) aliases.set(alias, topic)
  return topic || aliases.get(alias)
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
