import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Bytes, Log } from '../host.ts'

/** A whole request: nobody sees half of one. */
export interface HttpRequest {
  readonly method: string
  /** Path and query, as they came. */
  readonly target: string
  /** Address and port of whoever asks. */
  readonly remote: string
  /** By their names in small letters. */
  readonly header: (name: 'host' | 'authorization' | 'content-type') => string | undefined
  readonly body: Bytes
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface HttpOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Largest body of a request. */
  readonly bodyBytes: number
  /** Time in which a request must have come. */
  readonly requestSeconds: number
  /** Connections at once; more are closed. */
  readonly connections: number
  readonly log: Log
  /** Never rejects. */
  readonly answer: (request: HttpRequest) => Promise<HttpAnswer>
  /** What is said to a request that is not even one. */
  readonly malformed: (status: number, reason: string) => HttpAnswer
}

export interface OpenHttp {
  /** The port that the system gave. */
  readonly port: number
  /** Stops listening. Answers that are under way are finished, for up to `graceMs`. */
  close(graceMs: number): Promise<void>
}

/** Serves HTTP/1.1. @throws the system's error, with `code`, when it cannot listen. */
export async function openHttp(options: HttpOptions): Promise<OpenHttp> {
  const { host, port, requestSeconds, connections, log, malformed } = options
  const server = createServer({ maxHeaderSize: 8192, keepAliveTimeout: 5000, connectionsCheckingInterval: 1000 })
  server.headersTimeout = server.requestTimeout = requestSeconds * 1000
  server.maxHeadersCount = 50
  server.maxConnections = connections
  server.on('request', (request, response) => serve(request, response, options))
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    // Whoever asks before sending learns of a body that is too large without sending it.
    if (declaredBytes(request) <= options.bodyBytes) response.writeContinue()
    serve(request, response, options)
  })
  server.on('clientError', (fault: Error & { code?: string }, socket) => {
    if (!socket.writable || fault.code === 'ECONNRESET') return void socket.destroy()
    const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[fault.code ?? ''] ?? 400
    const { headers, body } = malformed(status, status === 400 ? 'this is no HTTP request' : fault.message)
    const lines = Object.entries({ ...headers, 'content-length': Buffer.byteLength(body), connection: 'close' })
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    socket.once('finish', () => socket.destroy())
    socket.end(`HTTP/1.1 ${status} Refused\r\n${head}\r\n${body}`)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  server.on('error', (err) => log.error({ err }, 'the admin listener could not take a connection'))
  return {
    port: (server.address() as AddressInfo).port,
    close: (graceMs) =>
      new Promise((resolve) => {
        const cut = setTimeout(() => server.closeAllConnections(), graceMs)
        server.close(() => {
          clearTimeout(cut)
          resolve()
        })
        server.closeIdleConnections()
      }),
  }
}

function serve(request: IncomingMessage, response: ServerResponse, options: HttpOptions): void {
  const { bodyBytes, answer, malformed } = options
  // A slice of each piece would hold all of what it came in: one byte a piece, and the rest of it in extensions of the chunks.
  let body: Buffer | undefined
  let bytes = 0
  let refused = false
  const send = ({ status, headers, body }: HttpAnswer) => {
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) })
    // To HEAD, Node sends no body.
    response.end(body)
  }
  const tooLarge = `a request has at most ${bodyBytes} bytes`
  const refuse = (status: number, reason: string) => {
    refused = true
    response.setHeader('connection', 'close')
    // What still comes is for nobody.
    response.once('finish', () => request.destroy())
    send(malformed(status, reason))
  }
  request.on('error', () => {})
  response.on('error', () => {})
  if (declaredBytes(request) > bodyBytes) return refuse(413, tooLarge)
  // Node takes the first of them, and a proxy before us perhaps the last.
  if (hosts(request) > 1) return refuse(400, 'a request has one Host header')
  request.on('data', (chunk: Buffer) => {
    if (refused) return
    if (bytes + chunk.length > bodyBytes) return refuse(413, tooLarge)
    body ??= Buffer.allocUnsafe(declaredBytes(request) || bodyBytes)
    bytes += chunk.copy(body, bytes)
  })
  request.on('end', () => {
    if (refused) return
    const { method = '', url = '', headers } = request
    const header: HttpRequest['header'] = (name) => headers[name]
    const { remoteAddress = 'unknown', remotePort = 0 } = request.socket
    const whole = body?.subarray(0, bytes) ?? Buffer.alloc(0)
    void answer({ method, target: url, header, body: whole, remote: `${remoteAddress}:${remotePort}` }).then(send)
  })
}

function declaredBytes(request: IncomingMessage): number {
  return Number(request.headers['content-length'] ?? 0)
}

function hosts({ rawHeaders }: IncomingMessage): number {
  return rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === 'host').length
}

/** Are these the same secret? Takes as long whatever they have in common. */
export function sameSecret(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}
