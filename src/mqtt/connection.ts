import type { IConnackPacket, Packet } from 'mqtt-packet'
import type { Bytes, Clock, Log, Stream, StreamEvents } from '../host.ts'
import { copyBytes, sameBytes, varintLength } from './bytes.ts'
import { Framer } from './framer.ts'
import { Message } from './message.ts'
import { Output, type Turn } from './output.ts'
import {
  type AckPlace,
  type AuthPacket,
  checkPayloadFormat,
  type ConnectPacket,
  type DisconnectPacket,
  type PacketDecoder,
  type SubscribePacket,
  type UnsubscribePacket,
  type Version,
} from './packets.ts'
import { forwardedProperties, Place } from './properties.ts'
import { malformed, protocolError } from './reader.ts'
import { beforeConnack, connackCodes, connectReasons, disconnectReasons } from './reason.ts'
import { MqttError, Reason, reasonName, refusalIn } from './reason.ts'
import type { Root } from './root.ts'
import { Sender } from './sender.ts'
import type { QoS, Topic, TopicTable } from './topic.ts'

/** What a connection tells the broker. Each call runs to completion; none waits. */
export interface ConnectionEvents<S> {
  connect(from: Connection<S>, packet: ConnectPacket): void
  auth(from: Connection<S>, packet: AuthPacket): void
  publish(from: Connection<S>, message: Message, packetId: number): void
  puback(from: Connection<S>, packetId: number, reason: number): void
  pubrec(from: Connection<S>, packetId: number, reason: number): void
  pubrel(from: Connection<S>, packetId: number): void
  pubcomp(from: Connection<S>, packetId: number): void
  subscribe(from: Connection<S>, packet: SubscribePacket): void
  unsubscribe(from: Connection<S>, packet: UnsubscribePacket): void
  disconnect(from: Connection<S>, packet: DisconnectPacket): void
  /** The connection is over. `fault` is undefined when the client said DISCONNECT or we asked it to go. */
  closed(from: Connection<S>, fault: Error | undefined): void
}

/** What all connections of a broker share. */
export interface ConnectionContext<S> {
  readonly events: ConnectionEvents<S>
  readonly decoder: PacketDecoder
  readonly topics: TopicTable
  readonly turn: Turn
  readonly clock: Clock
  readonly log: Log
  /** For those who connect from now on: what a client was told at CONNECT holds as long as it is connected. */
  limits: {
    readonly packetBytes: number
    readonly packetBytesBeforeConnect: number
    readonly receiveMaximum: number
    readonly topicAliases: number
    readonly unsentBytes: number
  }
}

/** What a client may send in a time. */
export interface Allowance {
  /** A PUBLISH has come. False: it is too much, and is refused. */
  admits(message: Message): boolean
  /** So many filters have come in a SUBSCRIBE or UNSUBSCRIBE: nothing refuses them, but they have to be paid for. */
  charge(filters: readonly string[]): void
  end(): void
}

//  opened ── CONNECT ──▶ connecting ── accept ──▶ connected ── DISCONNECT, fault, close ──▶ closed
//                         │  ▲ AUTH
//                         └──┘
type State = 'opened' | 'connecting' | 'connected' | 'closed'

/**
 * The server's side of one MQTT connection: bytes in, events out; sends in, bytes out. It holds what lives as long as
 * the network connection: the state, aliases, receive maximum. The session outlives it and belongs to the broker.
 */
export class Connection<S> implements StreamEvents {
  readonly remote: string
  readonly output: Output
  readonly sender: Sender
  session: S | undefined = undefined
  /** For logs; set by CONNECT. */
  clientId = ''
  version: Version = 4
  username: string | undefined = undefined
  keepAliveSeconds = 0
  authenticationMethod: string | undefined = undefined
  /** The class of durability of what comes through its listener. */
  durability: 'fsync' | 'os' | 'memory' = 'fsync'
  /** Does its listener take clients that say nothing of who they are? */
  allowAnonymous = false
  /** Its CONNECT's place among those of the broker. */
  connectNumber = 0
  /** Undefined: as much as it likes. */
  allowance: Allowance | undefined = undefined
  /** Below it stands what a tenant's client publishes; known once it has logged in. Undefined: it belongs to no tenant. */
  root: Root | undefined = undefined
  /** Called when its socket has taken so much that more may come. */
  drained: (() => void) | undefined = undefined
  /** Called when its stream ends while it is held: whoever makes it wait need not any more. */
  left: (() => void) | undefined = undefined
  /** Acknowledgements to this client that wait for the store. */
  heldAcks = 0
  /** Of these, those that wait for a sync. */
  heldSyncs = 0
  readonly #context: ConnectionContext<S>
  readonly #stream: Stream
  readonly #framer: Framer
  readonly #limits: ConnectionContext<S>['limits']
  #state: State = 'opened'
  #receiveMaximum = Infinity
  #unackedIn = 0
  #holds = 0
  #choked = false
  #paused = false
  /** Why the stream ended, while what it brought is still held. */
  #ended: Error | undefined = undefined
  /** When the chunk at hand came. */
  #nowMs: number
  #lastSeenMs: number
  #lastTopic: Topic | undefined = undefined
  /** As the client wrote it. */
  #lastWritten: Uint8Array = nothing
  #aliasesIn: (Topic | undefined)[] | undefined = undefined

  constructor(stream: Stream, context: ConnectionContext<S>) {
    this.#context = context
    this.#limits = context.limits
    this.#stream = stream
    this.remote = stream.remote
    this.output = new Output(stream, context.turn)
    this.output.drained = () => this.#drained()
    this.output.relaxedBytes = this.#limits.unsentBytes
    this.sender = new Sender(this.output, context.clock, this.#limits.unsentBytes)
    this.#lastSeenMs = this.#nowMs = context.clock.now()
    this.#framer = new Framer(this, context.turn.unfinished)
  }

  /** What is known of the peer before it says a word. */
  get peer(): Pick<Stream, 'remote' | 'protocol' | 'certificate'> {
    return this.#stream
  }

  get state(): State {
    return this.#state
  }

  /** Monotonic milliseconds at which the last whole packet came. One that is not read is not silent. */
  get lastSeenMs(): number {
    return this.#holds > 0 ? this.#context.clock.now() : this.#lastSeenMs
  }

  /** Bytes that have come and were not read, as a packet is not whole or the connection is held. */
  get unreadBytes(): number {
    return this.#framer.keptBytes
  }

  /** All bytes that the connection holds. */
  get heldBytes(): number {
    return this.output.waitingBytes + this.unreadBytes
  }

  /** Is its stream gone, so that nothing more comes than what is held? */
  get ended(): boolean {
    return this.#ended !== undefined
  }

  /** Takes a chunk from the stream. Never throws for what a peer did: it closes the connection with the right code. */
  data(chunk: Bytes): void {
    if (this.#state === 'closed') return
    this.#nowMs = this.#context.clock.now()
    this.output.traffic.bytesIn += chunk.length
    if (this.output.waitingBytes > 2 * this.#limits.unsentBytes) this.#choke()
    // Most holds are over before another chunk comes: only then is the stream itself stopped.
    if (this.#holds > 0 && !this.#paused) this.#stream.pause((this.#paused = true))
    try {
      this.#framer.receive(chunk)
      const { unfinished, unfinishedBytes } = this.#context.turn
      if (unfinished.bytes > unfinishedBytes && this.unreadBytes >= muchUnfinished)
        throw new MqttError(Reason.quotaExceeded, 'MQTT-4.13.2-1', 'unfinished packets fill the memory that is theirs')
    } catch (fault) {
      this.fail(fault instanceof Error ? fault : new Error(String(fault)))
    }
  }

  closed(fault?: Error): void {
    this.output.close()
    const ended = fault ?? new Error('the client closed without DISCONNECT')
    // What it sent before it left counts, a DISCONNECT above all.
    if (this.#holds === 0) return this.#over(ended)
    this.#ended = ended
    this.left?.()
    // Nothing drains any more, so nobody else would let it go on.
    this.#unchoke()
  }

  /** Reads nothing more while the broker waits for an answer about this client; what is here already is kept, in order. */
  hold(): void {
    if (this.#holds++ === 0) this.#framer.hold()
  }

  /** Its answers pile up, and it does not read them: nothing more is read from it until it does. */
  #choke(): void {
    if (this.#choked) return
    this.#choked = true
    this.hold()
  }

  #unchoke(): void {
    if (!this.#choked) return
    this.#choked = false
    this.release()
  }

  #drained(): void {
    this.#unchoke()
    this.drained?.()
  }

  /** Ends one `hold`. */
  release(): void {
    if (--this.#holds > 0 || this.#state === 'closed') return
    // What waited counts as coming now: its silence was ours, and a message's time to live begins [MQTT-3.3.2-5].
    this.#lastSeenMs = this.#nowMs = this.#context.clock.now()
    if (this.#paused) this.#stream.pause((this.#paused = false))
    try {
      this.#framer.release()
    } catch (fault) {
      this.fail(fault instanceof Error ? fault : new Error(String(fault)))
    }
    if (this.#ended && this.#holds === 0) this.#over(this.#ended)
  }

  /** One whole packet: `chunk[start, end)`, its content from `body`. The framer calls this. */
  frame(chunk: Uint8Array, start: number, body: number, end: number): void {
    this.#lastSeenMs = this.#nowMs
    const { traffic } = this.output
    const first = chunk[start]!
    if (first >> 4 === 3 && this.#state === 'connected') {
      traffic.messagesIn++
      return this.#publish(chunk, start, body, end)
    }
    traffic.othersIn++
    if (this.#state !== 'connected') return this.#early(chunk, start, body, end)
    switch (first >> 4) {
      case 4:
        return this.#context.events.puback(
          this,
          this.#ackId(chunk, body, end, first & 15),
          this.#ackReason(chunk, body, end, Place.puback),
        )
      case 5:
        return this.#context.events.pubrec(
          this,
          this.#ackId(chunk, body, end, first & 15),
          this.#ackReason(chunk, body, end, Place.pubrec),
        )
      case 6: {
        // Flags 0010 [MQTT-3.6.1-1]; 3.1 also let a resent PUBREL carry DUP.
        if ((first & (this.version === 3 ? 7 : 15)) !== 2) throw malformed('MQTT-3.6.1-1', 'bad flags in PUBREL')
        const packetId = this.#ackId(chunk, body, end, 0)
        this.#ackReason(chunk, body, end, Place.pubrel)
        return this.#context.events.pubrel(this, packetId)
      }
      case 7: {
        const packetId = this.#ackId(chunk, body, end, first & 15)
        this.#ackReason(chunk, body, end, Place.pubcomp)
        return this.#context.events.pubcomp(this, packetId)
      }
      case 12:
        if (first !== 0xc0 || body !== end) throw malformed('MQTT-2.1.3-1', 'bad PINGREQ')
        return this.output.short(0xd0, 0)
      default:
        return this.#other(chunk, start, body, end)
    }
  }

  /** May a packet with this first byte and declared length come now? Called before it is buffered. */
  admit(first: number, length: number): void {
    if (this.#state === 'opened' && first !== 0x10)
      throw first >> 4 === 1
        ? malformed('MQTT-2.1.3-1', 'bad flags in CONNECT')
        : protocolError('MQTT-3.1.0-1', 'the first packet must be CONNECT')
    const limit = this.#state === 'connected' ? this.#limits.packetBytes : this.#limits.packetBytesBeforeConnect
    if (length + 5 > limit && 1 + varintLength(length) + length > limit)
      throw new MqttError(Reason.packetTooLarge, 'MQTT-3.2.2-15', `a packet of ${length} bytes; ${limit} are allowed`)
  }

  #early(chunk: Uint8Array, start: number, body: number, end: number): void {
    const first = chunk[start]!
    if (this.#state === 'opened') {
      this.#state = 'connecting'
      this.#stream.identified?.()
      // A v5 client is told why its CONNECT is refused, even when it cannot be decoded.
      if (sameBytes(mqtt5, chunk, body, Math.min(body + mqtt5.length, end))) this.version = 5
      this.sender.speak(this.version)
      const packet = this.#context.decoder.connect(chunk.subarray(start, end), body - start)
      this.clientId = packet.clientId
      this.version = packet.version
      this.username = packet.username
      this.authenticationMethod = packet.authenticationMethod
      this.sender.configure(packet, this.#limits.topicAliases)
      if (packet.version === 5) this.#receiveMaximum = this.#limits.receiveMaximum
      this.#context.events.connect(this, packet)
    } else if (first >> 4 === 15 && this.authenticationMethod !== undefined) this.#auth(chunk, start, body, end)
    else if (first >> 4 === 14) this.#finish(new Error('the client left before CONNACK'))
    else throw protocolError('MQTT-3.1.2-30', 'only AUTH and DISCONNECT may come before CONNACK')
  }

  #publish(chunk: Uint8Array, start: number, body: number, end: number): void {
    const first = chunk[start]!
    const qos = ((first >> 1) & 3) as QoS
    const topicEnd = body + 2 + ((chunk[body]! << 8) | chunk[body + 1]!)
    let at = qos === 0 ? topicEnd : topicEnd + 2
    if (end - body < 2 || at > end) throw malformed('MQTT-3.3.2-1', 'PUBLISH is shorter than its topic and packet id')
    if (qos === 0 ? first & 8 : (qos as number) === 3)
      throw qos === 0 ? malformed('MQTT-3.3.1-2', 'DUP on QoS 0') : malformed('MQTT-3.3.1-4', 'QoS 3')
    let packetId = 0
    if (qos > 0) {
      packetId = (chunk[topicEnd]! << 8) | chunk[topicEnd + 1]!
      if (packetId === 0) throw protocolError('MQTT-2.2.1-3', 'packet id 0')
      if (++this.#unackedIn > this.#receiveMaximum)
        throw new MqttError(Reason.receiveMaximumExceeded, 'MQTT-3.3.4-7', 'more than receive maximum in flight')
    }
    let topic = this.#lastTopic
    if (topic === undefined || !sameBytes(this.#lastWritten, chunk, body + 2, topicEnd)) {
      topic = undefined
      if (topicEnd > body + 2 || this.version !== 5) topic = this.#topic(chunk, body + 2, topicEnd)
    }
    const retain = (first & 1) === 1
    let whole = !retain
    let properties: Uint8Array | undefined
    let expiresAtMs = Infinity
    if (this.version === 5) {
      // An empty block is the common case, and one byte.
      if (at < end && chunk[at] === 0) {
        at++
        if (topic === undefined) throw protocolError('MQTT-3.3.2-8', 'PUBLISH with neither topic nor alias')
      } else {
        const block = this.#context.decoder.publishProperties(chunk, at, end)
        at = block.end
        topic = this.#aliased(topic, block.topicAlias)
        if (block.messageExpirySeconds >= 0) expiresAtMs = this.#nowMs + block.messageExpirySeconds * 1000
        properties = forwardedProperties(chunk, block)
        if (block.payloadIsText) checkPayloadFormat(chunk.subarray(at, end))
        whole &&= block.forwardWhole
      }
    }
    const message = new Message(
      topic!,
      qos,
      retain,
      chunk,
      at,
      end,
      properties,
      expiresAtMs,
      this.session as object | undefined,
      this.version,
    )
    if (whole) {
      message.frameStart = start
      message.frameEnd = end
      message.idOffset = topicEnd - start
    }
    this.#context.events.publish(this, message, packetId)
  }

  #topic(chunk: Uint8Array, start: number, end: number): Topic {
    const { topics } = this.#context
    const { root } = this
    const topic = root === undefined ? topics.at(chunk, start, end) : topics.under(root.bytes, chunk, start, end)
    this.#lastWritten = root === undefined ? topic.bytes : topic.wire
    return (this.#lastTopic = topic)
  }

  /** Applies a topic alias of this PUBLISH: sets it when there is a topic, else looks it up. */
  #aliased(topic: Topic | undefined, alias: number): Topic {
    if (alias > this.#limits.topicAliases)
      throw new MqttError(Reason.topicAliasInvalid, 'MQTT-3.3.2-9', `topic alias ${alias} is above the maximum`)
    if (topic !== undefined) {
      if (alias > 0) (this.#aliasesIn ??= [])[alias] = topic
      return topic
    }
    if (alias === 0) throw protocolError('MQTT-3.3.2-8', 'PUBLISH with neither topic nor alias')
    const known = this.#aliasesIn?.[alias]
    // 0x82 and not 0x94, which is for an alias that cannot be (MQTT 5.0, 3.3.4).
    if (!known) throw protocolError('MQTT-3.3.2-7', `topic alias ${alias} was never set on this connection`)
    return known
  }

  #ackId(chunk: Uint8Array, body: number, end: number, flags: number): number {
    if (flags !== 0) throw malformed('MQTT-2.1.3-1', 'reserved flags in an acknowledgement')
    if (end - body < 2) throw malformed('MQTT-2.2.1-5', 'an acknowledgement without a packet id')
    const packetId = (chunk[body]! << 8) | chunk[body + 1]!
    if (packetId === 0) throw protocolError('MQTT-2.2.1-3', 'packet id 0')
    return packetId
  }

  #ackReason(chunk: Uint8Array, body: number, end: number, place: AckPlace): number {
    if (end - body === 2) return Reason.success
    if (this.version !== 5) throw malformed('MQTT-2.3.1-6', 'an acknowledgement with more than a packet id')
    return this.#context.decoder.ackReason(chunk, body + 2, end, place)
  }

  #other(chunk: Uint8Array, start: number, body: number, end: number): void {
    const { decoder, events } = this.#context
    const first = chunk[start]!
    switch (first) {
      case 0x82:
        return events.subscribe(this, decoder.subscribe(chunk.subarray(start, end), body - start, this.version))
      case 0xa2:
        return events.unsubscribe(this, decoder.unsubscribe(chunk.subarray(start, end), body - start, this.version))
      case 0xe0: {
        const packet = decoder.disconnect(chunk.subarray(start, end), body - start, this.version)
        events.disconnect(this, packet)
        return this.#finish(
          packet.reason === Reason.success ? undefined : new Error(`the client left: ${reasonName(packet.reason)}`),
        )
      }
      case 0xf0:
        return this.#auth(chunk, start, body, end)
    }
    // MQTT 3.1 lets a resent SUBSCRIBE or UNSUBSCRIBE carry DUP; mqtt-packet does not.
    if (this.version === 3 && (first === 0x8a || first === 0xaa)) {
      const plain = copyBytes(chunk, start, end)
      plain[0] = first & 0xf7
      return this.#other(plain, 0, body - start, plain.length)
    }
    switch (first >> 4) {
      case 1:
        throw protocolError('MQTT-3.1.0-2', 'a second CONNECT')
      case 8:
        throw malformed('MQTT-3.8.1-1', 'bad flags in SUBSCRIBE')
      case 10:
        throw malformed('MQTT-3.10.1-1', 'bad flags in UNSUBSCRIBE')
      case 14:
        throw malformed('MQTT-3.14.1-1', 'bad flags in DISCONNECT')
      case 15:
        throw malformed('MQTT-3.15.1-1', 'bad flags in AUTH')
      default:
        throw protocolError('MQTT-4.13.1-1', `a client may not send packet type ${first >> 4}`)
    }
  }

  #auth(chunk: Uint8Array, start: number, body: number, end: number): void {
    if (chunk[start] !== 0xf0) throw malformed('MQTT-3.15.1-1', 'bad flags in AUTH')
    if (this.version !== 5 || this.authenticationMethod === undefined)
      throw protocolError('MQTT-4.12.0-7', 'AUTH without an authentication method in CONNECT')
    const packet = this.#context.decoder.auth(chunk.subarray(start, end), body - start)
    if (packet.method !== this.authenticationMethod)
      throw protocolError('MQTT-4.12.0-5', 'AUTH with another authentication method than CONNECT')
    this.#context.events.auth(this, packet)
  }

  // ── what goes out ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Accepts the client: CONNACK 0. */
  accept(sessionPresent: boolean, properties: NonNullable<IConnackPacket['properties']>): void {
    this.#state = 'connected'
    if (this.version === 5) this.#send({ cmd: 'connack', sessionPresent, reasonCode: Reason.success, properties })
    // In 3.1 that byte is reserved.
    else this.#send({ cmd: 'connack', sessionPresent: sessionPresent && this.version === 4, returnCode: 0 })
  }

  puback(packetId: number, reason: number, why?: string, durability?: string): void {
    this.#unackedIn--
    this.sender.ack(0x40, packetId, reason, why, durability)
  }

  pubrec(packetId: number, reason: number, why?: string, durability?: string): void {
    if (reason >= 0x80) this.#unackedIn--
    this.sender.ack(0x50, packetId, reason, why, durability)
  }

  /** Answers a QoS 2 PUBLISH that has been answered before: it does not count again against receive maximum. */
  pubrecAgain(packetId: number): void {
    this.#unackedIn--
    this.output.short(0x50, packetId)
  }

  pubcomp(packetId: number, reason: number): void {
    if (this.#unackedIn > 0) this.#unackedIn--
    this.sender.ack(0x70, packetId, reason, undefined)
  }

  suback(packetId: number, granted: number[], why?: string): void {
    const properties = this.#explained(why)
    this.#send({ cmd: 'suback', messageId: packetId, granted, ...(properties && { properties }) })
  }

  unsuback(packetId: number, granted: number[]): void {
    this.#send({ cmd: 'unsuback', messageId: packetId, granted })
  }

  /** AUTH to the client: 0x18 to go on, 0x00 when a re-authentication succeeded. */
  authenticate(reason: number, data: Uint8Array | undefined): void {
    const method = this.authenticationMethod
    const properties = {
      ...(method !== undefined && { authenticationMethod: method }),
      ...(data && { authenticationData: Buffer.from(data) }),
    }
    this.#send({ cmd: 'auth', reasonCode: reason, properties })
  }

  /** Closes for a fault: the peer's own (MqttError), or ours. Logs one line that names the clause. */
  fail(fault: Error): void {
    if (this.#state === 'closed') return
    const about = { client: this.clientId, remote: this.remote }
    if (fault instanceof MqttError) {
      this.#context.log.warn({ ...about, clause: fault.clause, reason: reasonName(fault.reason) }, fault.message)
      this.#farewell(fault.reason, fault.told)
    } else {
      this.#context.log.error({ ...about, err: fault }, 'the broker failed; the connection is closed')
      this.#farewell(Reason.unspecifiedError, undefined)
    }
    this.#finish(fault)
  }

  /** Sends the client away: refuses it before CONNACK, else DISCONNECT (v5). Its will fires as the code says. */
  close(reason: Reason, why?: string, serverReference?: string): void {
    if (this.#state === 'closed') return
    this.#farewell(reason, why, serverReference)
    this.#finish(new Error(`sent away: ${reasonName(reason)}`))
  }

  /** Drops what the client would not take: for one that reads nothing. */
  abandon(): void {
    this.#stream.destroy()
  }

  #farewell(reason: Reason, why: string | undefined, serverReference?: string): void {
    const properties = { ...this.#explained(why), ...(serverReference !== undefined && { serverReference }) }
    if (this.#state === 'connected') {
      const reasonCode = refusalIn(disconnectReasons, reason)
      if (this.version === 5) this.sender.packet({ cmd: 'disconnect', reasonCode, properties })
    } else if (this.#state === 'connecting') {
      const reasonCode = refusalIn(connectReasons, beforeConnack.get(reason) ?? reason)
      if (this.version === 5)
        return void this.sender.packet({ cmd: 'connack', sessionPresent: false, reasonCode, properties })
      // Without a fitting code: close without CONNACK [MQTT-3.2.2-6 of 3.1.1].
      const returnCode = connackCodes.get(reasonCode)
      if (returnCode !== undefined) this.sender.packet({ cmd: 'connack', sessionPresent: false, returnCode })
    }
  }

  #explained(why: string | undefined): { reasonString: string } | undefined {
    return why !== undefined && this.version === 5 ? { reasonString: why } : undefined
  }

  /** Sends a packet that the client needs to go on; one that accepts no packet of that size cannot be served. */
  #send(packet: Packet): void {
    if (this.sender.packet(packet)) return
    this.#context.log.warn(
      { client: this.clientId, remote: this.remote, clause: 'MQTT-3.1.2-24' },
      `${packet.cmd} is larger than the client accepts`,
    )
    this.#finish(new Error(`${packet.cmd} is larger than the client accepts`))
  }

  /** The stream is gone: in order, by a fault of the network, or of the peer. */
  #over(ended: Error): void {
    if (ended instanceof MqttError) this.fail(ended)
    else this.#finish(ended)
  }

  #finish(fault: Error | undefined): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#aliasesIn = undefined
    this.#framer.close()
    this.output.end()
    this.#context.events.closed(this, fault)
  }
}

/** Whoever keeps less of a packet is not to blame. */
const muchUnfinished = 64 * 1024

const nothing = new Uint8Array(0)

// How a CONNECT of MQTT 5.0 starts: protocol name and level.
const mqtt5 = Uint8Array.of(0, 4, 0x4d, 0x51, 0x54, 0x54, 5)
