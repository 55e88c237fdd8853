import { isLoopback, parseAddress, type Address } from '../config/listener.ts'
import { version } from '../version.ts'
import { shellWord } from './terminal.ts'

export interface Started {
  /** With the real ports. */
  readonly urls: readonly string[]
  /** Folder of what outlives the process; undefined: nothing does. */
  readonly data: string | undefined
  /** Certificate of the first TLS listener, for clients that do not know its authority. */
  readonly certificate: string | undefined
  /** The words that start us. */
  readonly invocation: string
}

/** What a person sees when a node has started: where it listens, what it keeps, and two lines to paste. */
export function startScreen({ urls, data, certificate, invocation }: Started): string {
  const addresses = urls.map(parseAddress).filter((address) => typeof address !== 'string')
  const target = brokerFlags(addresses, certificate)
  const lines = [
    `godwit ${version}`,
    '',
    ...urls.map((url) => `  ${url}`),
    data === undefined ? '  data: in memory, nothing survives a restart' : `  data: ${data}`,
    '',
    'Try it, in two other terminals:',
    `  ${invocation} sub ${target} -t 'demo/#' -v`,
    `  ${invocation} pub ${target} -t demo/hello -m hi`,
  ]
  if (addresses.every(({ host }) => isLoopback(host))) {
    const port = addresses.find(({ transport }) => transport === 'tcp')?.port ?? 1883
    lines.push(
      '',
      'Only this machine can connect. To let everybody in, without a password:',
      `  ${invocation} start --listen tcp://0.0.0.0:${port} --allow-public`,
    )
  }
  return `${lines.join('\n')}\n\n`
}

const preferred = ['tcp', 'ws', 'tls', 'wss'] as const

// The flags with which pub and sub reach us from this machine. Their default host is 127.0.0.1.
function brokerFlags(addresses: readonly Address[], certificate: string | undefined): string {
  const transport = preferred.find((wanted) => addresses.some((address) => address.transport === wanted))
  const address = addresses.find((one) => one.transport === transport)
  if (!address) return ''
  const { port, path } = address
  // Every address of the machine is also one that we can dial.
  const host = address.host === '0.0.0.0' ? '127.0.0.1' : address.host === '::' ? '::1' : address.host
  if (transport === 'tcp') return `${host === '127.0.0.1' ? '' : `-h ${host} `}-p ${port}`
  const scheme = transport === 'tls' ? 'mqtts' : transport
  const trust = certificate === undefined ? '' : ` --cafile ${shellWord(certificate)}`
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}${path}`
  return `-L ${shellWord(url)}${transport === 'ws' ? '' : trust}`
}
