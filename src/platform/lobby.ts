import type { Socket } from 'node:net'
import type { Clock, Log } from '../host.ts'
import { Repeats } from './repeats.ts'

/** Who may come, and how often: the address is without a port. */
export interface Arrivals {
  /** Why this one is not taken; undefined when it is: call `close` when it has gone. */
  open(address: string, nowMs: number, told: boolean): string | undefined
  close(address: string, told: boolean): void
}

export interface LobbyLimits {
  readonly connectSeconds: number
  readonly packetBytesBeforeConnect: number
  readonly bytesBeforeConnectTotal: number
}

export interface LobbyOptions {
  readonly clock: Clock
  readonly log: Log
  readonly arrivals: Arrivals
  readonly limits: LobbyLimits
  /** Sockets of clients at a time: what the system gives, less what the store, a reload and the log need. */
  readonly most: number
}

export interface Source {
  readonly address: string
  readonly port: number
}

/** Why somebody is sent away before it is a client. */
export type Refusal = 'too-many-connections' | 'no-room' | 'too-late' | 'too-much' | 'bad-proxy' | 'rate'
/** What somebody could not do: its TLS or WebSocket handshake; or the system could not take it at all. */
export type Failure = 'bad-tls' | 'bad-web-socket' | 'not-accepted'

/** What a stranger costs in memory, beside its bytes: measured, with some to spare. */
export const plainBytes = 4096
export const tlsBytes = 131_072
/** Who has had so long gives way to who comes. */
const patienceMs = 1000
/** Frames of WebSocket around a packet. */
const slackBytes = 1024

/**
 * All who have come and have not sent CONNECT, whichever listener they came to: one clock for each, from accept on, and one
 * account of what they make us hold.
 *
 *   accept ─ enter ─▶ (PROXY) ─ admit ─▶ TLS, WebSocket ─ handOver ─▶ the broker's clock ─ CONNECT ─▶ leave
 *
 * When there is no room, the one who has come first goes, if it has had a second; else whoever wants more. So strangers
 * who say nothing keep nobody out, and in a crowd those who are in come to an end.
 */
export class Lobby {
  readonly refused: Record<Refusal | Failure, number> = {
    'too-many-connections': 0,
    'no-room': 0,
    'too-late': 0,
    'too-much': 0,
    'bad-proxy': 0,
    rate: 0,
    'bad-tls': 0,
    'bad-web-socket': 0,
    'not-accepted': 0,
  }
  limits: LobbyLimits
  readonly #options: LobbyOptions
  readonly #repeats: Repeats
  /** In the order in which they came. */
  readonly #waiting = new Set<Guest>()
  readonly #guests = new WeakMap<Socket, Guest>()
  #bytes = 0
  #sockets = 0

  constructor(options: LobbyOptions) {
    this.#options = options
    this.limits = options.limits
    this.#repeats = new Repeats(options.clock)
  }

  get clock(): Clock {
    return this.#options.clock
  }

  /** Bytes that those who have not sent CONNECT make us hold. */
  get bytes(): number {
    return this.#bytes
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** A socket was accepted. @returns undefined when it is sent away */
  enter(socket: Socket, bytes: number): Guest | undefined {
    socket.on('error', () => {})
    const { remoteAddress, remotePort } = socket
    // It has gone already.
    if (remoteAddress === undefined) return void socket.destroy()
    const source = { address: remoteAddress, port: remotePort ?? 0 }
    const guest = new Guest(socket, source, this.#options.clock.now(), bytes, this)
    this.#sockets++
    socket.once('close', () => {
      this.#sockets--
      this.#leave(guest)
      if (guest.admitted) this.#options.arrivals.close(guest.source.address, guest.told)
    })
    this.#guests.set(socket, guest)
    if (this.#sockets > this.#options.most)
      return void this.refuse(guest, 'too-many-connections', `${this.#options.most} are open, as many as there may be`)
    this.#waiting.add(guest)
    this.#bytes += bytes
    this.#wait(guest, this.limits.connectSeconds * 1000)
    return this.#hasRoom(guest) ? guest : undefined
  }

  /** Its address is known. @returns false when it is sent away */
  admit(guest: Guest): boolean {
    const { arrivals, clock } = this.#options
    const why = arrivals.open(guest.source.address, clock.now(), guest.told)
    guest.admitted = why === undefined
    if (why !== undefined) this.refuse(guest, 'rate', why)
    return guest.admitted
  }

  guestOf(socket: Socket): Guest | undefined {
    return this.#guests.get(socket)
  }

  /** The guest sent `bytes`, which we hold until its CONNECT is whole. */
  hold(guest: Guest, bytes: number): void {
    if (!this.#waiting.has(guest)) return
    guest.bytes += bytes
    guest.sent += bytes
    this.#bytes += bytes
    const most = this.limits.packetBytesBeforeConnect + slackBytes
    if (guest.sent > most) this.refuse(guest, 'too-much', `${guest.sent} bytes without a CONNECT`)
    else this.#hasRoom(guest)
  }

  /** Sends it away at once. */
  refuse(guest: Guest, refusal: Refusal, why: string): void {
    if (guest.refused) return
    guest.refused = true
    this.refused[refusal]++
    this.#say(guest, 'a connection was refused', why)
    this.#leave(guest)
    guest.socket.destroy()
  }

  /** Its handshake was none; it goes by itself. */
  failed(guest: Guest, failure: Failure, message: string, why: string): void {
    if (guest.refused || guest.failed) return
    guest.failed = true
    this.refused[failure]++
    this.#say(guest, message, why)
  }

  /** One line about a guest, or none when there were many about its address. */
  #say({ remote, source }: Guest, message: string, why: string): void {
    this.#repeats.say(`${message} ${source.address} ${why}`, (more) =>
      this.#options.log.warn({ remote, why, ...more }, message),
    )
  }

  /** It has sent CONNECT, or has gone. */
  identified(guest: Guest): void {
    this.#leave(guest)
  }

  /** Sends away all who have not been handed over: nobody listens any more. */
  close(): void {
    for (const { socket, timer } of this.#waiting) if (timer) socket.destroy()
  }

  #wait(guest: Guest, ms: number): void {
    const { connectSeconds } = this.limits
    const dueMs = this.#options.clock.now() + ms
    guest.timer = setTimeout(() => {
      const lateMs = this.#options.clock.now() - dueMs
      if (lateMs < patienceMs) return this.refuse(guest, 'too-late', `no CONNECT within ${connectSeconds} s`)
      // The process stood still, and what the guest said meanwhile lies unread.
      guest.openedMs += lateMs + patienceMs
      this.#wait(guest, patienceMs)
    }, ms)
  }

  #leave(guest: Guest): void {
    guest.handOver()
    if (this.#waiting.delete(guest)) this.#bytes -= guest.bytes
  }

  /** Makes room. @returns false when that took this guest itself */
  #hasRoom(guest: Guest): boolean {
    const nowMs = this.#options.clock.now()
    while (this.#bytes > this.limits.bytesBeforeConnectTotal) {
      const [oldest] = this.#waiting
      const gone = oldest && nowMs - oldest.openedMs >= patienceMs ? oldest : guest
      this.refuse(gone, 'no-room', `those who have not sent CONNECT hold ${this.#bytes} bytes`)
      if (gone === guest) return false
    }
    return true
  }
}

/** Somebody who has not sent CONNECT yet. */
export class Guest {
  readonly socket: Socket
  /** When it came, by the host's clock, less the time that the process stood still. */
  openedMs: number
  /** Whose bytes these are: the socket's address, or what a proxy has told. */
  source: Source
  told = false
  /** A listed proxy that has sent no PROXY header: X-Forwarded-For must say for whom it speaks. */
  mustBeForwarded = false
  admitted = false
  refused = false
  failed = false
  bytes: number
  sent = 0
  timer: NodeJS.Timeout | undefined = undefined
  readonly #lobby: Lobby

  constructor(socket: Socket, source: Source, openedMs: number, bytes: number, lobby: Lobby) {
    this.socket = socket
    this.source = source
    this.openedMs = openedMs
    this.bytes = bytes
    this.#lobby = lobby
  }

  /** Address and port, for logs and permission. */
  get remote(): string {
    return `${this.source.address}:${this.source.port}`
  }

  /** A proxy that is listed has said so. */
  speaksFor(source: Source): void {
    this.source = source
    this.told = true
  }

  /** From now on the broker looks at the clock. */
  handOver(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }

  /** Counts what comes through `carrier` until the guest is known: its own socket, or TLS on it. */
  count(carrier: Socket): void {
    const count = (chunk: Buffer): void => this.#lobby.hold(this, chunk.length)
    carrier.on('data', count)
    this.#stop = () => void carrier.off('data', count)
  }
  #stop = (): void => {}

  /** It has sent CONNECT. */
  identified(): void {
    this.#stop()
    this.#lobby.identified(this)
  }
}
