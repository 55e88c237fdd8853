import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { WebSocket } from 'ws'
import type { Bytes, PeerCertificate, Stream, StreamEvents } from '../host.ts'
import { MqttError, Reason } from '../mqtt/reason.ts'
import type { Guest } from './lobby.ts'
import { certificateOf, lingerMs } from './socket.ts'

/** A WebSocket as a stream: its binary frames are the bytes, wherever packets begin [MQTT-6.0.0-2]. */
export class WebSocketStream implements Stream {
  readonly remote: string
  readonly protocol: string
  readonly openedMs: number
  readonly #socket: WebSocket
  readonly #below: Duplex
  readonly #guest: Guest
  #ending = false
  readonly #unwritten: (() => void)[] = []

  /** @param below what it runs on */
  constructor(socket: WebSocket, below: Duplex, guest: Guest) {
    this.#socket = socket
    this.#below = below
    this.#guest = guest
    this.remote = guest.remote
    this.protocol = below instanceof TLSSocket ? 'wss' : 'ws'
    this.openedMs = guest.openedMs
  }

  get certificate(): PeerCertificate | undefined {
    return certificateOf(this.#below)
  }

  identified(): void {
    this.#guest.identified()
  }

  /** Passes what happens on the socket to `events`. */
  feed(events: StreamEvents): void {
    const socket = this.#socket
    let fault: Error | undefined
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      // What comes behind a fault is not read.
      if (fault) return
      if (isBinary) return events.data(data)
      fault = new MqttError(Reason.protocolError, 'MQTT-6.0.0-1', 'a text frame came; MQTT travels in binary frames')
      socket.close(1003)
      setTimeout(() => socket.terminate(), lingerMs).unref()
    })
    socket.on('error', (error) => (fault = error))
    socket.on('close', () => {
      for (const written of this.#unwritten.splice(0)) written()
      events.closed(fault)
    })
  }

  write(bytes: Bytes, written: () => void): void {
    if (this.#socket.readyState === this.#socket.OPEN) return this.#socket.send(bytes, { binary: true }, written)
    // While it closes, `send` answers at once, ahead of earlier writes that still hold their pages: wait for the end.
    this.#unwritten.push(written)
  }

  pause(paused: boolean): void {
    if (paused) this.#socket.pause()
    else this.#socket.resume()
  }

  end(): void {
    if (this.#ending) return
    this.#ending = true
    const socket = this.#socket
    socket.resume()
    socket.close(1000)
    const timer = setTimeout(() => socket.terminate(), lingerMs)
    socket.once('close', () => clearTimeout(timer))
  }

  destroy(): void {
    this.#socket.terminate()
  }
}
