/** Where a broker is, and what its URL said beside that. */
export interface Endpoint {
  readonly protocol: 'mqtt' | 'mqtts' | 'ws' | 'wss'
  /** Without brackets. */
  readonly host: string
  readonly port: number
  /** Of a WebSocket; empty otherwise. */
  readonly path: string
  readonly username?: string
  readonly password?: string
  /** The path of an `mqtt://` URL, as in mosquitto_pub. */
  readonly topic?: string
}

const ports = { mqtt: 1883, mqtts: 8883, ws: 8083, wss: 8084 } as const
const protocols = new Map<string, Endpoint['protocol']>([
  ['mqtt', 'mqtt'],
  ['tcp', 'mqtt'],
  ['mqtts', 'mqtts'],
  ['ssl', 'mqtts'],
  ['tls', 'mqtts'],
  ['ws', 'ws'],
  ['wss', 'wss'],
])
const shape = /^([a-z]+):\/\/(?:([^@/]*)@)?(\[[0-9a-f:.%]+\]|[^:/?#@[\]\s]+)(?::([0-9]{1,5}))?(?:(\/.*))?$/i

/**
 * Reads `mqtt://user:password@host:port/topic`. For ws:// and wss:// the path is the WebSocket's (by default `/mqtt`), and
 * names no topic.
 * @throws Error whose message says what is wrong.
 */
export function parseEndpoint(text: string): Endpoint {
  const [, scheme = '', credentials, bracketed, portText, path = ''] = shape.exec(text) ?? []
  const protocol = protocols.get(scheme.toLowerCase())
  if (!protocol || !bracketed) throw new Error('Write it like mqtt://127.0.0.1:1883/topic, with mqtt, mqtts, ws or wss')
  const port = portText === undefined ? ports[protocol] : Number(portText)
  if (port < 1 || port > 65_535) throw new Error(`Port ${port} is not from 1 to 65535`)
  const host = bracketed.startsWith('[') ? bracketed.slice(1, -1) : bracketed
  const overWeb = protocol === 'ws' || protocol === 'wss'
  const [username, ...rest] = credentials?.split(':') ?? []
  return {
    protocol,
    host,
    port,
    path: overWeb ? (path === '' ? '/mqtt' : path) : '',
    ...(username && { username: decoded(username) }),
    ...(rest.length > 0 && { password: decoded(rest.join(':')) }),
    ...(!overWeb && path.length > 1 && { topic: decoded(path.slice(1)) }),
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Error('A % in it is not followed by two hexadecimal digits')
  }
}

/** The URL of a broker for messages: without a password. */
export function endpointUrl({ protocol, host, port, path }: Endpoint): string {
  return `${protocol}://${host.includes(':') ? `[${host}]` : host}:${port}${path}`
}

/** The port that goes without saying. */
export function defaultPort(protocol: Endpoint['protocol']): number {
  return ports[protocol]
}
