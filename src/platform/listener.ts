import type { IncomingMessage } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer as createTlsServer, type Server as TlsServer, type TlsOptions, type TLSSocket } from 'node:tls'
import type { Log, Stream, StreamEvents } from '../host.ts'
import { type Guest, type Lobby, plainBytes, tlsBytes } from './lobby.ts'
import { type Proxies, readIntroduction } from './proxies.ts'
import { Repeats } from './repeats.ts'
import { SocketStream } from './socket.ts'
import { below, type TlsContexts } from './tls.ts'
import { tlsWords } from './tls-words.ts'
import type { upgradeServer } from './upgrade.ts'
import { WebSocketStream } from './websocket.ts'

/** What can change while it listens: for those who come from then on. */
export interface ListenSettings {
  /** For tls and wss. */
  readonly tls: TlsContexts | undefined
  /** Peers that must say for whom they speak. */
  readonly proxies: Proxies
  /** May a page of this origin open a WebSocket here? `host` is what the request calls us. */
  readonly isWelcome: (origin: string, host: string | undefined) => boolean
}

export interface ListenOptions {
  readonly transport: 'tcp' | 'tls' | 'ws' | 'wss'
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Of a WebSocket's URL. */
  readonly path: string
  /** Largest WebSocket message, in bytes. */
  readonly messageBytes: number
  readonly settings: ListenSettings
  readonly lobby: Lobby
  readonly log: Log
  /** A peer has come: who takes its bytes? */
  readonly accept: (stream: Stream) => StreamEvents
}

export interface OpenListener {
  /** The port that the system gave. */
  readonly port: number
  /** Nobody is dropped. */
  change(settings: ListenSettings): void
  /** Stops listening. Those who are connected stay. */
  close(): Promise<void>
}

/** Listens. @throws the system's error, with `code`, when that cannot be. */
export async function openListener(options: ListenOptions): Promise<OpenListener> {
  const { host, port, transport, log, lobby } = options
  const isHttp = transport === 'ws' || transport === 'wss'
  const door = new Door(options, isHttp ? (await import('./upgrade.ts')).upgradeServer : undefined)
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }, (socket) =>
    door.arrived(socket),
  )
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 4096 }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // No descriptors left, for one: that refuses a peer, and the listener lives on.
  const repeats = new Repeats(lobby.clock)
  server.on('error', (err: Error & { code?: string }) => {
    lobby.refused['not-accepted']++
    repeats.say(err.code ?? '', (more) =>
      log.error({ err, transport, ...more }, 'a listener could not take a connection'),
    )
  })
  return {
    port: (server.address() as AddressInfo).port,
    change: (settings) => door.change(settings),
    close: () => new Promise((resolve) => void server.close(() => resolve())),
  }
}

/**
 * The way of a connection to the broker.
 *
 *   accept ─▶ lobby ─▶ PROXY header, of listed peers ─▶ TLS ─▶ HTTP, WebSocket ─▶ stream
 */
class Door {
  readonly #options: ListenOptions
  readonly #isSecure: boolean
  readonly #isHttp: boolean
  /** TLS, HTTP or both; it never listens itself. Undefined: MQTT comes as it is. */
  readonly #inner: Server | undefined
  #settings: ListenSettings

  /** @param upgraded makes the way from HTTP to a WebSocket, where that is wanted */
  constructor(options: ListenOptions, upgraded: typeof upgradeServer | undefined) {
    const { transport, settings } = options
    this.#options = options
    this.#settings = settings
    this.#isSecure = transport === 'tls' || transport === 'wss'
    this.#isHttp = upgraded !== undefined
    this.#inner = upgraded ? this.#http(upgraded) : this.#isSecure ? this.#tls() : undefined
    this.#inner?.on('tlsClientError', (err: Error, socket: TLSSocket) => this.#tlsFailed(err, socket))
  }

  arrived(socket: Socket): void {
    const { lobby } = this.#options
    const guest = lobby.enter(socket, this.#isSecure ? tlsBytes : plainBytes)
    if (!guest) return
    const { proxies } = this.#settings
    if (!proxies.has(guest.source.address)) return lobby.admit(guest) ? this.#serve(guest) : undefined
    readIntroduction(socket, this.#isHttp, (said) => {
      if (said.kind === 'fault') return lobby.refuse(guest, 'bad-proxy', said.why)
      if (said.kind === 'none') guest.mustBeForwarded = true
      else {
        if (said.source) guest.speaksFor(said.source)
        // A proxy that speaks for itself, to see whether we live, counts for nobody.
        if (said.source && !lobby.admit(guest)) return
      }
      this.#serve(guest)
      // TLS reads from the descriptor itself.
      if (!this.#isSecure) socket.resume()
    })
  }

  change(settings: ListenSettings): void {
    this.#settings = settings
    if (!this.#isSecure || !settings.tls) return
    ;(this.#inner as TlsServer).setSecureContext(settings.tls.options)
    // Node counts these two among the server's, not the context's.
    Object.assign(this.#inner!, asking(settings.tls))
  }

  #serve(guest: Guest): void {
    if (this.#inner) this.#inner.emit('connection', guest.socket)
    else this.#take(guest, guest.socket)
  }

  #take(guest: Guest, carrier: Socket): void {
    const stream = new SocketStream(carrier, guest)
    stream.feed(this.#options.accept(stream))
    this.#handOver(guest, carrier)
  }

  #handOver(guest: Guest, carrier: Socket): void {
    guest.handOver()
    // Behind the stream: what it has taken for a CONNECT is not counted.
    guest.count(carrier)
  }

  #tls(): Server {
    return createTlsServer(this.#tlsOptions(), (socket) => {
      const guest = this.#guestOf(socket)
      if (guest) this.#take(guest, socket)
    })
  }

  #http(upgraded: typeof upgradeServer): Server {
    return upgraded(
      {
        path: this.#options.path,
        messageBytes: this.#options.messageBytes,
        refused: (request) => this.#refused(request),
        take: (webSocket, request) => {
          const guest = this.#guestOf(request.socket)
          if (!guest) return webSocket.terminate()
          const stream = new WebSocketStream(webSocket, request.socket, guest)
          stream.feed(this.#options.accept(stream))
          this.#handOver(guest, request.socket)
        },
        failed: (socket, why) => {
          const guest = this.#guestOf(socket)
          if (guest) this.#options.lobby.failed(guest, 'bad-web-socket', 'a WebSocket handshake failed', why)
        },
      },
      this.#isSecure ? this.#tlsOptions() : undefined,
    )
  }

  #refused(request: IncomingMessage): { readonly status: number; readonly why: string } | undefined {
    const { origin, host } = request.headers
    if (origin !== undefined && !this.#settings.isWelcome(origin, host))
      return { status: 403, why: `pages of ${origin} may not connect here: origins does not list it` }
    const guest = this.#guestOf(request.socket)
    if (!guest?.mustBeForwarded) return undefined
    const source = this.#settings.proxies.forwardedFor(request.headers['x-forwarded-for'] as string | undefined)
    if (!source) return { status: 400, why: 'a proxy must say for whom it speaks: PROXY, or X-Forwarded-For' }
    guest.speaksFor(source)
    return this.#options.lobby.admit(guest) ? undefined : { status: 429, why: 'too many connections' }
  }

  #tlsOptions(): TlsOptions {
    const tls = this.#settings.tls!
    return {
      ...tls.options,
      ...asking(tls),
      SNICallback: (host, done) => done(null, this.#settings.tls?.contextFor(host)),
    }
  }

  #tlsFailed(err: Error, socket: TLSSocket): void {
    const guest = this.#guestOf(socket)
    // Of a certificate that is not taken the error says only that there is no connection any more.
    const why = String((socket.authorizationError as Error | string | null) ?? tlsWords(err))
    if (guest) this.#options.lobby.failed(guest, 'bad-tls', 'a TLS handshake failed', why)
    socket.destroy()
  }

  #guestOf(socket: Duplex): Guest | undefined {
    const { lobby } = this.#options
    return lobby.guestOf(socket as Socket) ?? lobby.guestOf(below(socket))
  }
}

function asking({ requestCert }: TlsContexts): { requestCert: boolean; rejectUnauthorized: boolean } {
  return { requestCert, rejectUnauthorized: requestCert }
}
