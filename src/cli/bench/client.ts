import { parser } from 'mqtt-packet'
import { disconnectFrame, type Login } from './frames.ts'
import type { Inspector, Sender, Wire } from './sender.ts'
import type { Tally } from './tally.ts'

export interface ClientEvents {
  ready(client: Client): void
  /** It was ready, said goodbye, and the broker has closed the connection. */
  left(client: Client): void
  /** It never became ready, or it was ready and is gone. */
  lost(client: Client, why: string): void
  /** It received something: a window may have opened. */
  moved(client: Client): void
}

export interface ClientRole {
  /** What to send on connecting, and after CONNACK if it subscribes. */
  readonly connect: Uint8Array
  readonly subscribe?: Uint8Array
  /** Has its subscription already when the broker kept its session. */
  readonly resumes?: boolean
  /** Leaves as soon as it is ready, and takes nothing: what its session had, it has still. */
  readonly leaves?: boolean
  readonly inspector?: Inspector
}

let acks = Buffer.allocUnsafeSlow(1 << 18)

/**
 * One MQTT client, as bare as it can be: frames are counted by their headers. Of a PUBLISH only the packet id is read,
 * and the payload when there is an inspector.   connecting → (subscribing →) ready | leaving → closed
 */
export class Client {
  phase: 'connecting' | 'subscribing' | 'ready' | 'leaving' | 'closed' = 'connecting'
  /** Set for a publisher. */
  sender: Sender | undefined = undefined
  /** What the broker said in CONNACK (5.0): how many unacknowledged messages it takes. */
  receiveMaximum = 65_535
  #acked = 0

  constructor(
    readonly role: ClientRole,
    readonly login: Login,
    readonly wire: Wire,
    readonly tally: Tally,
    readonly events: ClientEvents,
    readonly nowUs: () => number,
  ) {}

  /** The socket is open. */
  open(): void {
    this.wire.write(this.role.connect)
  }

  /** The socket is gone; also for a failed dial. */
  closed(why: string): void {
    if (this.phase === 'closed') return
    if (this.phase === 'leaving') this.events.left(this)
    else this.events.lost(this, why)
    this.phase = 'closed'
  }

  /** Ends it from our side: not a loss. */
  end(): void {
    this.phase = 'closed'
    this.wire.close()
  }

  /** Takes the whole frames in bytes[from … to). @returns where the first one that is not whole begins. */
  receive(bytes: Buffer, from: number, to: number): number {
    this.tally.lastUs = this.nowUs()
    if (acks.length < to - from) acks = Buffer.allocUnsafeSlow(to - from)
    let at = from
    while (to - at >= 2) {
      let body = at + 2
      let length = bytes[at + 1]!
      if (length > 127) {
        length &= 127
        for (let scale = 128, more = true; more; scale *= 128) {
          if (body >= to) length = Number.POSITIVE_INFINITY
          const byte = body < to ? bytes[body++]! : 0
          length += (byte & 127) * scale
          more = byte > 127
        }
      }
      const end = body + length
      if (end > to) break
      const head = bytes[at]!
      if (head >> 4 === 3) this.#published(bytes, head, body, end)
      else this.#control(bytes, at, body, end)
      at = end
    }
    if (this.#acked > 0) {
      this.wire.write(Buffer.from(acks.subarray(0, this.#acked)))
      this.#acked = 0
    }
    this.events.moved(this)
    return at
  }

  #published(bytes: Buffer, head: number, body: number, end: number): void {
    if (this.role.leaves) return
    this.tally.received++
    if (head & 8) this.tally.duplicates++
    const qos = (head >> 1) & 3
    const inspector = this.role.inspector
    if (qos === 0 && !inspector) return
    let at = body + 2 + ((bytes[body]! << 8) | bytes[body + 1]!)
    if (qos > 0) {
      this.#acknowledge(qos === 1 ? 0x40 : 0x50, bytes, at)
      at += 2
    }
    if (!inspector) return
    if (this.login.version === 5) at = afterProperties(bytes, at)
    inspector.see(bytes, at, end)
  }

  #acknowledge(head: number, bytes: Buffer, idAt: number): void {
    const at = this.#acked
    acks[at] = head
    acks[at + 1] = 2
    acks[at + 2] = bytes[idAt]!
    acks[at + 3] = bytes[idAt + 1]!
    this.#acked = at + 4
  }

  #control(bytes: Buffer, at: number, body: number, end: number): void {
    const type = bytes[at]! >> 4
    switch (type) {
      case 4:
      case 5:
      case 7: {
        const id = (bytes[body]! << 8) | bytes[body + 1]!
        if (this.sender?.acknowledged(type, id, end - body > 2 ? bytes[body + 2]! : 0))
          this.#acknowledge(0x62, bytes, body)
        return
      }
      case 6:
        return this.#acknowledge(0x70, bytes, body)
      case 13:
        this.tally.pongs++
        return
      default:
        return this.#greeted(bytes.subarray(at, end))
    }
  }

  /** CONNACK, SUBACK and DISCONNECT are few: mqtt-packet reads them. */
  #greeted(frame: Buffer): void {
    const reader = parser({ protocolVersion: this.login.version })
    reader.on('error', (error: Error) => this.#leave(`it sent what is not MQTT: ${error.message}`))
    reader.on('packet', (packet) => {
      if (packet.cmd === 'connack') {
        const code = (this.login.version === 5 ? packet.reasonCode : packet.returnCode) ?? 0
        if (code !== 0) return this.#leave(`it refused the connection with code ${code}`)
        this.receiveMaximum = packet.properties?.receiveMaximum ?? 65_535
        if (!this.role.subscribe || (this.role.resumes && packet.sessionPresent)) return this.#ready()
        this.phase = 'subscribing'
        this.wire.write(this.role.subscribe)
      } else if (packet.cmd === 'suback') {
        const code = packet.granted[0]
        if (typeof code === 'number' && code >= 0x80)
          return this.#leave(`it refused the subscription with code ${code}`)
        this.#ready()
      } else if (packet.cmd === 'disconnect') this.#leave(`it disconnected with reason ${packet.reasonCode ?? 0}`)
    })
    reader.parse(frame)
  }

  #ready(): void {
    if (this.role.leaves) {
      this.phase = 'leaving'
      return this.wire.end(disconnectFrame(this.login.version))
    }
    this.phase = 'ready'
    this.events.ready(this)
  }

  #leave(why: string): void {
    this.closed(why)
    this.wire.close()
  }
}

function afterProperties(bytes: Buffer, at: number): number {
  let length = 0
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++]!
    length += (byte & 127) * scale
    if (byte < 128) return at + length
  }
}
