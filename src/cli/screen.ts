import { isLoopback, parseAddress, type Address } from '../config/listener.ts'
import { version } from '../version.ts'
import { shellWord } from './terminal.ts'

export interface Started {
  /** With the real ports. */
  readonly urls: readonly string[]
  /** Folder of what outlives the process; undefined: nothing does. */
  readonly data: string | undefined
  /** URL of the admin listener. */
  readonly admin: string | undefined
  readonly cluster: StartedInCluster | undefined
  /** Certificate of the first TLS listener, for clients that do not know its authority. */
  readonly certificate: string | undefined
  /** Clients have to say who they are. */
  readonly logIns: boolean
  /** Not everything is allowed, and nobody here knows what is. */
  readonly rules: boolean
  /** The words that start us. */
  readonly invocation: string
}

export interface StartedInCluster {
  readonly node: string
  /** Where other nodes dial us. */
  readonly address: string
  /** The identity's directory; undefined: we have only a certificate of our own. */
  readonly directory: string | undefined
}

/** What a person sees when a node has started: where it listens, what it keeps, and two lines to paste. */
export function startScreen({ urls, data, admin, cluster, certificate, logIns, rules, invocation }: Started): string {
  const addresses = urls.map(parseAddress).filter((address) => typeof address !== 'string')
  const target = brokerFlags(addresses, certificate) + (logIns ? ' -u USER -P PASSWORD' : '')
  const lines = [
    `godwit ${version}`,
    '',
    ...urls.map((url) => `  ${url}`),
    data === undefined ? '  data: in memory, nothing survives a restart' : `  data: ${data}`,
    ...(admin === undefined ? [] : [`  admin: ${admin}`]),
    ...(cluster ? [`  cluster: node ${cluster.node} at ${cluster.address}`] : []),
    '',
    'Try it, in two other terminals:',
    `  ${invocation} sub ${target} -t ${rules ? 'TOPIC' : "'demo/#'"} -v`,
    `  ${invocation} pub ${target} -t ${rules ? 'TOPIC' : 'demo/hello'} -m hi`,
  ]
  const isAlone = addresses.every(({ host }) => isLoopback(host))
  if (isAlone && logIns)
    lines.push('', 'Only this machine can connect. For others: a tls:// listener on an address that they reach.')
  else if (isAlone) {
    const port = addresses.find(({ transport }) => transport === 'tcp')?.port ?? 1883
    const flags = `--listen tcp://0.0.0.0:${port} --allow-public`
    // In a cluster, not to be pasted: without the other flags it would start on the same folder as a node alone.
    if (cluster) lines.push('', `Only this machine can connect. To let everybody in, without a password: ${flags}`)
    else
      lines.push(
        '',
        'Only this machine can connect. To let everybody in, without a password:',
        `  ${invocation} start ${flags}`,
      )
  }
  if (cluster) lines.push('', ...joining(cluster, invocation))
  return `${lines.join('\n')}\n\n`
}

/** What to type for the next node. */
function joining({ address, directory }: StartedInCluster, invocation: string): string[] {
  const rest = '--node NAME --cluster-listen HOST:PORT --listen URL --data DIR'
  const join = `--join ${shellWord(address)}`
  if (directory === undefined) return [`Another node joins with ${join}; tokens are made where the cluster was.`]
  return [
    'Another node, on this machine:',
    `  ${invocation} start --cluster ${shellWord(directory)} ${join} ${rest}`,
    `On another one, with a token of "${invocation} cluster token --cluster ${shellWord(directory)}":`,
    `  ${invocation} start --join-token TOKEN ${join} ${rest}`,
  ]
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
