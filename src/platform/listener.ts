import { createServer as createHttpServer, type Server as HttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer as createTlsServer, type Server as TlsServer, type TlsOptions, type TLSSocket } from 'node:tls'
import { WebSocketServer } from 'ws'
import type { Log, Stream, StreamEvents } from '../host.ts'
import { SocketStream } from './socket.ts'
import type { TlsContexts } from './tls.ts'
import { WebSocketStream } from './websocket.ts'

export interface ListenOptions {
  readonly transport: 'tcp' | 'tls' | 'ws' | 'wss'
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Of a WebSocket's URL. */
  readonly path: string
  /** For tls and wss. */
  readonly tls: TlsContexts | undefined
  /** Largest WebSocket message, in bytes. */
  readonly messageBytes: number
  /** Time for the TLS or WebSocket handshake. */
  readonly handshakeSeconds: number
  readonly log: Log
  /** A peer has come: who takes its bytes? */
  readonly accept: (stream: Stream) => StreamEvents
}

export interface OpenListener {
  /** The port that the system gave. */
  readonly port: number
  /** Shows and checks other certificates for those who come from now on; nobody is dropped. */
  setTls(tls: TlsContexts): void
  /** Stops listening. Those who are connected stay. */
  close(): Promise<void>
}

/** Listens. @throws the system's error, with `code`, when that cannot be. */
export async function openListener(options: ListenOptions): Promise<OpenListener> {
  const { transport } = options
  let tls = options.tls
  const secure = tls && {
    ...tls.options,
    ...asking(tls),
    SNICallback: ((host, done) => done(null, tls!.contextFor(host))) satisfies TlsOptions['SNICallback'],
    handshakeTimeout: options.handshakeSeconds * 1000,
  }
  const http = transport === 'ws' || transport === 'wss'
  const server = http ? webSocketServer(options, secure) : socketServer(options, secure)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: options.host, port: options.port, backlog: 4096 }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // Later errors (no descriptors left) refuse one peer; the listener lives on.
  server.on('error', (err) => options.log.error({ err, transport }, 'a listener could not take a connection'))
  return {
    port: (server.address() as AddressInfo).port,
    setTls(next) {
      tls = next
      ;(server as TlsServer).setSecureContext(next.options)
      // Node counts these two among the server's, not the context's.
      Object.assign(server, asking(next))
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        // A peer that never came to its WebSocket would keep the server open for ever.
        if ('closeAllConnections' in server) server.closeAllConnections()
      }),
  }
}

const tcpOptions = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }

function asking({ requestCert }: TlsContexts): { requestCert: boolean; rejectUnauthorized: boolean } {
  return { requestCert, rejectUnauthorized: requestCert }
}

function socketServer(options: ListenOptions, secure: TlsOptions | undefined): Server {
  const take = (socket: Socket) => {
    const stream = new SocketStream(socket)
    stream.feed(options.accept(stream))
  }
  if (!secure) return createTcpServer(tcpOptions, take)
  return tellsFailures(createTlsServer({ ...secure, ...tcpOptions }, take), options.log)
}

function tellsFailures<S extends TlsServer>(server: S, log: Log): S {
  return server.on('tlsClientError', (err: Error, socket: TLSSocket) => {
    // Of a certificate that is not taken the error says only that there is no connection any more.
    const why = String((socket.authorizationError as Error | string | null) ?? err.message)
    log.warn({ remote: socket.remoteAddress, err: why }, 'a TLS handshake failed')
    // Node leaves it open when time is up, and a peer that says nothing would hold it for ever.
    socket.destroy()
  })
}

// MQTT 3.1 says nothing about WebSockets; its clients offer "mqttv3.1", mqtt.js for one.
const subprotocols = ['mqtt', 'mqttv3.1']

function webSocketServer(options: ListenOptions, secure: TlsOptions | undefined): HttpServer {
  const { path, messageBytes, handshakeSeconds, log } = options
  const server: HttpServer = secure
    ? tellsFailures(createHttpsServer({ ...secure, ...tcpOptions }), log)
    : createHttpServer(tcpOptions)
  server.headersTimeout = server.requestTimeout = handshakeSeconds * 1000
  server.maxHeadersCount = 100
  server.on('request', (_request, response) => {
    response.writeHead(426, { 'content-type': 'text/plain', upgrade: 'websocket', connection: 'close' })
    response.end(`This is an MQTT broker. Connect a WebSocket to ${path} with the subprotocol "mqtt".\n`)
  })
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: messageBytes,
    handleProtocols: (offered) => subprotocols.find((name) => offered.has(name)) ?? false,
  })
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const offered = String(request.headers['sec-websocket-protocol'] ?? '').split(',')
    const url = request.url?.split('?')[0]
    if (url !== path) return refuse(socket, 404, `no WebSocket at ${url ?? ''}; use ${path}`)
    // The client must offer "mqtt" [MQTT-6.0.0-3], and it is what we select [MQTT-6.0.0-4].
    if (!offered.some((name) => subprotocols.includes(name.trim())))
      return refuse(socket, 400, 'the WebSocket subprotocol must be "mqtt"')
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const stream = new WebSocketStream(webSocket, request)
      stream.feed(options.accept(stream))
    })
  })
  sockets.on('wsClientError', (err, socket) => {
    log.warn({ err: err.message }, 'a WebSocket handshake failed')
    refuse(socket, 400, err.message)
  })
  return server
}

function refuse(socket: Duplex, status: number, why: string): void {
  // A peer that keeps its side open does not keep ours.
  socket.once('finish', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status} Refused\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n${why}\n`)
}
