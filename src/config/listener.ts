import type { PemFile, TlsSettings } from '../platform/tls.ts'
import type { Durability } from '../store/port.ts'

/** How clients reach a listener. */
export type Transport = 'tcp' | 'tls' | 'ws' | 'wss'

export type { PemFile, TlsSettings }

export interface Address {
  readonly transport: Transport
  /** A name or address to bind, without brackets. */
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Of the WebSocket's URL; empty for tcp and tls. */
  readonly path: string
}

export interface Listener extends Address {
  /** The address in one canonical text: `ws://127.0.0.1:8083/mqtt`. */
  readonly url: string
  /** Present exactly for tls and wss. */
  readonly tls?: TlsSettings
  /**
   * Clients that say nothing of who they are (no user name, password, certificate) stay welcome here when others must log in.
   * Without `auth` every client is anonymous.
   */
  readonly allowAnonymous: boolean
  /** Peers that must say for whom they speak: addresses and networks. */
  readonly proxy?: readonly string[]
  /** Pages that may open a WebSocket here; undefined: those of the same host. */
  readonly origins?: readonly string[]
  /** The class of what is published through it, unless its topic says otherwise. */
  readonly durability: Durability
}

const defaultPorts: Record<Transport, number> = { tcp: 1883, tls: 8883, ws: 8083, wss: 8084 }
const shape = /^(tcp|tls|ws|wss):\/\/(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?(\/[^\s?#]*)?$/i

/** Reads `tcp://127.0.0.1:1883`. @returns what is wrong, as text, when it is no such address. */
export function parseAddress(text: string): Address | string {
  const [, scheme, bracketed, portText, path = ''] = shape.exec(text) ?? []
  if (scheme === undefined || bracketed === undefined) return addressFault(text)
  const transport = scheme.toLowerCase() as Transport
  const port = portText === undefined ? defaultPorts[transport] : Number(portText)
  if (port > 65_535) return `port ${port} is above 65535`
  const host = bracketed.startsWith('[') ? bracketed.slice(1, -1) : bracketed
  if (bracketed.startsWith('[') && !bracketed.includes(':')) return `${bracketed} is no IPv6 address`
  if (transport === 'tcp' || transport === 'tls') {
    return path === '' || path === '/' ? { transport, host, port, path: '' } : `a ${transport}:// address has no path`
  }
  return { transport, host, port, path: path === '' ? '/mqtt' : path }
}

/** `parseAddress` backwards; `port` may be the one that the system chose. */
export function addressUrl({ transport, host, port, path }: Address): string {
  return `${transport}://${host.includes(':') ? `[${host}]` : host}:${port}${path}`
}

/** Can only this machine reach `host`? Spellings that we do not know count as public: a mistake must not open a door. */
export function isLoopback(host: string): boolean {
  return host === '::1' || host.toLowerCase() === 'localhost' || /^127(\.[0-9]{1,3}){3}$/.test(host)
}

export function isTls(transport: Transport): boolean {
  return transport === 'tls' || transport === 'wss'
}

function addressFault(text: string): string {
  const example = 'write it like tcp://127.0.0.1:1883'
  if (!text.includes('://')) return `no tcp://, tls://, ws:// or wss:// in front: ${example}`
  if (!/^(tcp|tls|ws|wss):/i.test(text)) return `listeners are tcp://, tls://, ws:// or wss://: ${example}`
  if (/^[a-z]+:\/\/[0-9a-f]*:[0-9a-f]*:[0-9a-f:]*$/i.test(text))
    return 'an IPv6 address goes in brackets: tcp://[::1]:1883'
  return `no listener address: ${example}`
}
