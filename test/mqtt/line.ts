import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'
import type { Log, Stream } from '../../src/host.ts'
import { Connection, type ConnectionContext, type ConnectionEvents } from '../../src/mqtt/connection.ts'
import type { Message } from '../../src/mqtt/message.ts'
import { Turn } from '../../src/mqtt/output.ts'
import { PacketDecoder, type Version } from '../../src/mqtt/packets.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import * as read from './readings.ts'

/** A stream that keeps what is written, and takes it when it is told to. */
export class FakeStream implements Stream {
  readonly remote = 'test:1'
  readonly writes: Buffer[] = []
  /** What has happened besides writes, in order. */
  readonly calls: string[] = []
  readonly #untaken: (() => void)[] = []

  write(bytes: Uint8Array, written: () => void): void {
    this.writes.push(Buffer.from(bytes))
    this.#untaken.push(written)
  }

  /** The kernel takes the oldest `count` writes. */
  take(count = Infinity): void {
    for (; count > 0 && this.#untaken.length > 0; count--) this.#untaken.shift()!()
  }

  get untaken(): number {
    return this.#untaken.length
  }

  get bytes(): Buffer {
    return Buffer.concat(this.writes)
  }

  pause(paused: boolean): void {
    this.calls.push(paused ? 'pause' : 'resume')
  }

  end(): void {
    this.calls.push('end')
  }

  destroy(): void {
    this.calls.push('destroy')
  }
}

export interface RigOptions {
  readonly packetBytes?: number
  readonly packetBytesBeforeConnect?: number
  readonly receiveMaximum?: number
  readonly topicAliases?: number
  readonly userProperties?: number
  readonly userPropertyBytes?: number
}

/** What the connections of a broker share, with a clock that stands still and a log that is kept. */
export class Rig {
  nowMs = 1_000_000
  /** Our own faults that were logged. */
  readonly errors: unknown[] = []
  /** Clauses of the peers' faults that were logged. */
  readonly clauses: string[] = []
  readonly turn = new Turn(() => {})
  readonly context: ConnectionContext<Line>

  constructor(options: RigOptions = {}) {
    const log: Log = {
      debug() {},
      info() {},
      warn: (fields) => void this.clauses.push((fields as { clause: string }).clause),
      error: (fields) => void this.errors.push((fields as { err: unknown }).err),
    }
    this.context = {
      events: recorder,
      decoder: new PacketDecoder({
        userProperties: options.userProperties ?? 64,
        userPropertyBytes: options.userPropertyBytes ?? 8192,
        subscriptionsPerSession: 1000,
      }),
      topics: new TopicTable(1, 256),
      turn: this.turn,
      clock: { now: () => this.nowMs, wall: () => 0, every: () => () => {}, endOfTurn: (run) => run() },
      log,
      limits: {
        packetBytes: options.packetBytes ?? 16_384,
        packetBytesBeforeConnect: options.packetBytesBeforeConnect ?? 65_536,
        receiveMaximum: options.receiveMaximum ?? 65_535,
        topicAliases: options.topicAliases ?? 32,
        unsentBytes: 1_048_576,
      },
    }
  }

  /** A new connection; with a version, CONNECT has been accepted. */
  open(version?: Version, connect?: Partial<IConnectPacket>): Line {
    const line = new Line(this)
    if (version !== undefined) line.feed(connect ? connectBytes(version, connect) : plainConnect[version]).clear()
    return line
  }
}

/** One connection under test: what it told the broker, and what it sent. */
export class Line {
  readonly stream = new FakeStream()
  readonly connection: Connection<Line>
  /** What came out of it, in the form of `readings.ts`. */
  readonly readings: string[] = []
  /** How often it said that it was over, and why. */
  ends = 0
  fault: Error | undefined = undefined
  /** The messages among it. */
  readonly messages: Message[] = []
  /** Runs at each event, once it is recorded. */
  onEvent: (() => void) | undefined = undefined
  readonly rig: Rig

  constructor(rig: Rig) {
    this.rig = rig
    this.connection = new Connection(this.stream, rig.context)
    this.connection.session = this
  }

  /** Chunks come in, one turn for all of them; the kernel takes what goes out. */
  feed(...chunks: Uint8Array[]): this {
    for (const chunk of chunks) this.connection.data(chunk)
    return this.settle()
  }

  /** Ends the turn, and lets the kernel take everything. */
  settle(): this {
    do {
      this.rig.turn.flush()
      this.stream.take()
    } while (this.stream.untaken > 0)
    return this
  }

  clear(): this {
    this.readings.length = this.messages.length = this.stream.writes.length = 0
    return this
  }
}

const recorder: ConnectionEvents<Line> = {
  connect(from, packet) {
    told(from, read.ourConnect(packet))
    from.accept(false, {})
  },
  auth: (from, packet) => told(from, read.ourAuth(packet)),
  publish(from, message, packetId) {
    from.session!.messages.push(message)
    told(from, read.ourPublish(message, packetId, from.session!.rig.nowMs))
  },
  puback: (from, packetId, reason) => told(from, read.ourAck('puback', packetId, reason)),
  pubrec: (from, packetId, reason) => told(from, read.ourAck('pubrec', packetId, reason)),
  // Its reason changes nothing, and is not handed over.
  pubrel: (from, packetId) => told(from, read.ourAck('pubrel', packetId, 0)),
  pubcomp: (from, packetId) => told(from, read.ourAck('pubcomp', packetId, 0)),
  subscribe: (from, packet) => told(from, read.ourSubscribe(packet)),
  unsubscribe: (from, packet) => told(from, read.ourUnsubscribe(packet)),
  disconnect: (from, packet) => told(from, read.ourDisconnect(packet)),
  closed(from, fault) {
    from.session!.ends++
    from.session!.fault = fault
  },
}

function told(from: Connection<Line>, reading: string): void {
  from.session!.readings.push(reading)
  from.session!.onEvent?.()
}

/** CONNECT, encoded by mqtt-packet. */
export function connectBytes(version: Version, connect: Partial<IConnectPacket> = {}): Buffer {
  return encode({ ...connectPacket(version), ...connect }, version)
}

/** CONNECT of a client that may also send AUTH. */
export function connectPacket(version: Version): IConnectPacket {
  return {
    cmd: 'connect',
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: version,
    clean: true,
    clientId: 'c',
    keepalive: 0,
    ...(version === 5 && { properties: { authenticationMethod: 'm' } }),
  }
}

/** Encodes by mqtt-packet. */
export function encode(packet: Packet, version: Version): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: version })
}

/** Bytes from hex; blanks allowed. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex')
}

const plainConnect = { 3: connectBytes(3), 4: connectBytes(4), 5: connectBytes(5) }
