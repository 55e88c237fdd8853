/** A host and a port, without a scheme: where nodes, and the admin listener, are. */
export interface HostPort {
  /** A name or address, without brackets. */
  readonly host: string
  readonly port: number
}

const shape = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+):([0-9]{1,5})$/i

/** Reads `127.0.0.1:7001` or `[::1]:7001`. @returns what is wrong, as text, when it is no such address. */
export function parseHostPort(text: string): HostPort | string {
  const [, host, portText] = shape.exec(text) ?? []
  if (host === undefined) return 'no address: write it like 127.0.0.1:7001'
  const port = Number(portText)
  if (port > 65_535) return `port ${port} is above 65535`
  if (!host.startsWith('[')) return { host, port }
  return host.includes(':') ? { host: host.slice(1, -1), port } : `${host} is no IPv6 address`
}

/** `parseHostPort` backwards. */
export function hostPortText({ host, port }: HostPort): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
