import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Bytes, PeerCertificate, Stream, StreamEvents } from '../host.ts'
import type { Guest } from './lobby.ts'

/** How long a closed connection may take to let go; then it is cut. */
export const lingerMs = 2000

/** What TLS knows of whoever is at the other end; undefined when it has shown no certificate. */
export function certificateOf(socket: Duplex): PeerCertificate | undefined {
  if (!(socket instanceof TLSSocket)) return undefined
  const shown = socket.getPeerCertificate()
  // An empty one stands for none.
  return shown.valid_to === undefined ? undefined : { ...shown, authorized: socket.authorized }
}

/** A TCP or TLS socket as a stream. */
export class SocketStream implements Stream {
  readonly remote: string
  readonly protocol: string
  readonly openedMs: number | undefined
  readonly #socket: Socket
  readonly #guest: Guest | undefined
  #ending = false

  /** @param guest who comes through it; undefined: nobody that is not known already */
  constructor(socket: Socket, guest?: Guest) {
    this.#socket = socket
    this.#guest = guest
    this.remote = guest?.remote ?? `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`
    this.protocol = socket instanceof TLSSocket ? 'tls' : 'tcp'
    this.openedMs = guest?.openedMs
  }

  get certificate(): PeerCertificate | undefined {
    return certificateOf(this.#socket)
  }

  identified(): void {
    this.#guest?.identified()
  }

  /** Passes what happens on the socket to `events`. */
  feed(events: StreamEvents): void {
    const socket = this.#socket
    let fault: Error | undefined
    socket.on('data', (chunk: Buffer) => events.data(chunk))
    socket.on('error', (error) => (fault = error))
    socket.on('close', () => events.closed(fault))
  }

  write(bytes: Bytes, written: () => void): void {
    this.#socket.write(bytes, written)
  }

  pause(paused: boolean): void {
    if (paused) this.#socket.pause()
    else this.#socket.resume()
  }

  end(): void {
    if (this.#ending) return
    this.#ending = true
    const socket = this.#socket
    if (socket.destroyed) return
    // Goes on reading, and throws away: a reset for unread bytes could overtake our last packet.
    socket.resume()
    socket.end()
    const timer = setTimeout(() => socket.destroy(), lingerMs)
    socket.once('close', () => clearTimeout(timer))
  }

  destroy(): void {
    this.#socket.destroy()
  }
}
