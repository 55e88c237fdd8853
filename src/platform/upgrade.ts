import { createServer as createHttpServer, type IncomingMessage, type Server as HttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'

export interface UpgradeOptions {
  /** Of a WebSocket's URL. */
  readonly path: string
  /** Largest WebSocket message, in bytes. */
  readonly messageBytes: number
  /** Why this request is refused, beside what HTTP and WebSocket want of it. */
  readonly refused: (request: IncomingMessage) => { readonly status: number; readonly why: string } | undefined
  readonly take: (socket: WebSocket, request: IncomingMessage) => void
  readonly failed: (socket: Duplex, why: string) => void
}

// MQTT 3.1 says nothing about WebSockets; its clients offer "mqttv3.1", mqtt.js for one.
const subprotocols = ['mqtt', 'mqttv3.1']
const mostHeaders = 100

/** HTTP up to a WebSocket. It does not listen: each connection is handed to it. */
export function upgradeServer(options: UpgradeOptions, secure: TlsOptions | undefined): HttpServer {
  const { path, failed } = options
  const server = secure ? createHttpsServer(secure) : createHttpServer()
  // All of them are looked at: one that Node leaves out could be the Origin.
  server.maxHeadersCount = 0
  server.on('request', (_request, response) => {
    response.writeHead(426, { 'content-type': 'text/plain', upgrade: 'websocket', connection: 'close' })
    response.end(`This is an MQTT broker. Connect a WebSocket to ${path} with the subprotocol "mqtt".\n`)
  })
  const sockets = new WebSocketServer(webSocketOptions(options.messageBytes))
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const refusal = refusalOf(request, path) ?? options.refused(request)
    if (refusal) {
      failed(socket, refusal.why)
      return refuse(socket, refusal.status, refusal.why)
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => options.take(webSocket, request))
  })
  sockets.on('wsClientError', (err, socket) => {
    failed(socket, err.message)
    refuse(socket, 400, err.message)
  })
  return server
}

function webSocketOptions(messageBytes: number): ServerOptions {
  const most = {
    maxPayload: messageBytes,
    // A fragment, or a chunk of one that waits, costs more than the byte that it may have.
    maxFragments: Math.max(1024, messageBytes >> 9),
    maxBufferedChunks: Math.max(4096, messageBytes >> 8),
  }
  return {
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    ...most,
    handleProtocols: (offered) => subprotocols.find((name) => offered.has(name)) ?? false,
  }
}

function refusalOf({ headers, rawHeaders, url = '' }: IncomingMessage, path: string) {
  if (rawHeaders.length > 2 * mostHeaders) return { status: 431, why: `more than ${mostHeaders} headers` }
  const asked = url.split('?')[0]!
  if (asked !== path) return { status: 404, why: `no WebSocket at ${asked}; use ${path}` }
  // The client must offer "mqtt" [MQTT-6.0.0-3], and it is what we select [MQTT-6.0.0-4].
  const offered = String(headers['sec-websocket-protocol'] ?? '').split(',')
  if (offered.some((name) => subprotocols.includes(name.trim()))) return undefined
  return { status: 400, why: 'the WebSocket subprotocol must be "mqtt"' }
}

function refuse(socket: Duplex, status: number, why: string): void {
  // A peer that keeps its side open does not keep ours.
  socket.once('finish', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status} Refused\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n${why}\n`)
}
