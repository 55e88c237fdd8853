import type { AddressInfo, Socket } from 'node:net'
import { connect, createServer, type Server, type TLSSocket } from 'node:tls'
import type { Log, Net, Stream, StreamEvents } from '../host.ts'
import type { ClusterDirectory } from './cluster-directory.ts'
import { certified } from './cluster-names.ts'
import { answerJoin } from './join-server.ts'
import { alpn } from './join-wire.ts'
import type { NodeIdentity } from './node-identity.ts'
import { Repeats } from './repeats.ts'
import { SocketStream } from './socket.ts'
import { below } from './tls.ts'

export interface TlsNetOptions {
  readonly identity: NodeIdentity
  /** With it we also issue certificates to nodes on other machines. */
  readonly directory: ClusterDirectory | undefined
  readonly log: Log
  /** Until somebody answers at all. One lost SYN is sent again within the default. */
  readonly connectMs?: number
  /** Until both have proven who they are. */
  readonly handshakeMs?: number
}

/** Strangers that are still shaking hands; more are turned away. */
const mostStrangers = 256

/**
 * Links between nodes as TLS 1.3 streams. Both ends show a certificate of the cluster's authority, and what stands in it
 * is the peer's name. Before that not a byte is read as anything of ours.
 */
export class TlsNet implements Net {
  readonly #directory: ClusterDirectory | undefined
  readonly #log: Log
  readonly #connectMs: number
  readonly #handshakeMs: number
  readonly #sockets = new Set<Socket>()
  readonly #repeats = new Repeats({ now: () => performance.now() })
  #identity: NodeIdentity
  #server: Server | undefined = undefined

  constructor({ identity, directory, log, connectMs = 1500, handshakeMs = 5000 }: TlsNetOptions) {
    this.#identity = identity
    this.#directory = directory
    this.#log = log
    this.#connectMs = connectMs
    this.#handshakeMs = handshakeMs
  }

  dial(
    address: string,
    opened: (stream: Stream, node: string) => StreamEvents,
    failed: (fault: Error & { readonly code?: string }) => void,
  ): void {
    const colon = address.lastIndexOf(':')
    const socket = connect({
      host: address.slice(0, colon).replace(/^\[|\]$/g, ''),
      port: Number(address.slice(colon + 1)),
      ...this.#proof(),
      ALPNProtocols: [alpn.link],
      // What it is called is what its certificate says; the address proves nothing.
      checkServerIdentity: () => undefined,
    })
    this.#track(socket)
    let fault: Error | undefined
    const late = (what: string) => () =>
      socket.destroy(Object.assign(new Error(`${what} in time`), { code: 'ETIMEDOUT' }))
    let timer = setTimeout(late('nobody answers'), this.#connectMs)
    const fail = (): void => {
      clearTimeout(timer)
      failed(fault ?? new Error('it closed the connection'))
    }
    socket.on('error', (error: Error) => (fault = described(error)))
    socket.once('close', fail)
    socket.once('connect', () => {
      clearTimeout(timer)
      timer = setTimeout(late('it does not prove who it is'), this.#handshakeMs)
    })
    socket.once('secureConnect', () => {
      const node = this.#nameOf(socket)
      if (node === undefined || socket.alpnProtocol !== alpn.link)
        return void socket.destroy(new Error('what answers there is no node of this cluster'))
      clearTimeout(timer)
      socket.off('close', fail)
      open(socket, node, opened)
    })
  }

  /**
   * Listens for the links of other nodes, and for nodes that want to join.
   * @returns the port
   * @throws the system's error, with `code`, when that cannot be
   */
  async listen(
    { host, port }: { readonly host: string; readonly port: number },
    accept: (stream: Stream, node: string) => StreamEvents,
  ): Promise<number> {
    const server = createServer({
      ...this.#proof(),
      requestCert: true,
      // Who joins has none yet. Everybody else is looked at below, before a byte of theirs is read.
      rejectUnauthorized: false,
      handshakeTimeout: this.#handshakeMs,
      ALPNProtocols: [alpn.link, alpn.join],
    })
    // Each who comes either proves who it is, or fails: exactly one of the two is heard of.
    let strangers = 0
    server.on('connection', (socket: Socket) => {
      this.#track(socket)
      // Asked for now, it is known when the socket has gone, too.
      void socket.remoteAddress
      if (++strangers > mostStrangers) socket.destroy()
    })
    server.on('secureConnection', (socket) => {
      strangers--
      this.#arrived(socket, accept)
    })
    server.on('tlsClientError', (fault, socket) => {
      strangers--
      this.#tell(socket, 'a handshake at the cluster port failed', fault.message)
      // Node leaves one that took too long as it is.
      socket.destroy()
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port, backlog: 1024 }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    server.on('error', (err: Error) =>
      this.#repeats.say(err.message, (more) =>
        this.#log.error({ err, ...more }, 'the cluster port could not take a connection'),
      ),
    )
    this.#server = server
    return (server.address() as AddressInfo).port
  }

  /** Shows a fresh certificate from now on. Links that are up stay. */
  renew(identity: NodeIdentity): void {
    this.#identity = identity
    this.#server?.setSecureContext(this.#proof())
  }

  /** Stops listening, and cuts every link. */
  async close(): Promise<void> {
    const server = this.#server
    const closed = server && new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #arrived(socket: TLSSocket, accept: (stream: Stream, node: string) => StreamEvents): void {
    if (socket.alpnProtocol === alpn.join) return void answerJoin(socket, this.#directory, this.#log)
    const node = this.#nameOf(socket)
    if (node !== undefined && socket.alpnProtocol === alpn.link) return open(socket, node, accept)
    const why: unknown = socket.authorizationError ?? 'its certificate names no node of this cluster'
    this.#tell(socket, 'a stranger at the cluster port was turned away', String(why))
    socket.on('error', () => {}).destroy()
  }

  /** Strangers may come again and again: a line tells of many. */
  #tell(socket: TLSSocket, message: string, why: string): void {
    const remote = below(socket).remoteAddress
    this.#repeats.say(`${remote} ${why}`, (more) => this.#log.warn({ remote, why, ...more }, message))
  }

  /** Which node of our cluster the peer has proven to be. */
  #nameOf(socket: TLSSocket): string | undefined {
    const shown = socket.authorized ? socket.getPeerX509Certificate() : undefined
    const whose = shown && certified(shown)
    return whose?.clusterId === this.#identity.clusterId ? whose.node : undefined
  }

  #proof() {
    const { certificate, key, authority } = this.#identity
    // The authority goes along for those who know nothing but its fingerprint.
    return { cert: certificate + authority, key, ca: authority, minVersion: 'TLSv1.3' } as const
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket)
    socket.setNoDelay(true)
    socket.once('close', () => this.#sockets.delete(socket))
  }
}

function open(socket: TLSSocket, node: string, take: (stream: Stream, node: string) => StreamEvents): void {
  const stream = new SocketStream(socket)
  stream.feed(take(stream, node))
}

/** Where Node's own words would not say what to look at. */
const sayings = new Map([
  ['ECONNREFUSED', 'nobody listens there'],
  ['ECONNRESET', 'it closed the connection before it had proven who it is; is that a cluster port?'],
])

function described(fault: Error & { code?: string }): Error & { readonly code?: string } {
  const { code = '', message } = fault
  const plainly = sayings.get(code)
  if (plainly !== undefined) return Object.assign(new Error(plainly, { cause: fault }), { code })
  const foreign = code.startsWith('ERR_SSL') || code.includes('CERT') || code.includes('SIGNATURE') || code === 'EPROTO'
  if (!foreign) return fault
  return Object.assign(new Error(`what answers there is no node of this cluster: ${message}`, { cause: fault }), {
    code,
  })
}
