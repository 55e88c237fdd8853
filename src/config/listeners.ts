import type { Durability } from '../store/port.ts'
import type { ParsedFile, Place } from './file.ts'
import { besideFile, faultText, type ReadFile } from './files.ts'
import {
  addressUrl,
  isLoopback,
  isTls,
  type Address,
  type Listener,
  type PemFile,
  type TlsSettings,
} from './listener.ts'
import type { FileListener } from './listener-schema.ts'
import type { Overrides } from './overrides.ts'
import type { Problem } from './problem.ts'

/** A listener as somebody asked for it, and the way back to where they did. */
export interface Wanted {
  readonly address: Address
  readonly tls: FileListener['tls']
  readonly proxy: FileListener['proxy']
  readonly origins: FileListener['origins']
  readonly allowAnonymous: boolean
  readonly durability: Durability | undefined
  /** The place of the listener itself, or of something in it. */
  readonly where: (...path: PropertyKey[]) => Place
}

const defaultAddresses: readonly Address[] = [
  { transport: 'tcp', host: '127.0.0.1', port: 1883, path: '' },
  { transport: 'ws', host: '127.0.0.1', port: 8083, path: '/mqtt' },
]

/** Chooses whose listeners count. Lists are not merged: whoever names one listener has named them all. */
export function wantedListeners(named: Overrides['listeners'], file: ParsedFile | undefined): readonly Wanted[] {
  if (named) return named.map(({ address, source }) => plain(address, source))
  if (!file?.values.listeners) return defaultAddresses.map((address) => plain(address, 'default'))
  return file.values.listeners.map(({ url, tls, proxy, origins, allowAnonymous, durability }, at) => ({
    address: url,
    tls,
    proxy,
    origins,
    allowAnonymous,
    durability,
    where: (...path) => file.where(['listeners', at, ...path]),
  }))
}

function plain(address: Address, source: string): Wanted {
  const nothing = { tls: undefined, proxy: undefined, origins: undefined, durability: undefined }
  return { address, ...nothing, allowAnonymous: false, where: () => ({ source }) }
}

/**
 * Opens the files that a listener names. What is wrong goes to `problems`, and the listener must not be used then.
 * @param durability of a listener that names none
 */
export function openListener(
  wanted: Wanted,
  durability: Durability,
  readFile: ReadFile,
  problems: Problem[],
): Listener {
  const { address, tls, proxy, origins, allowAnonymous } = wanted
  const url = addressUrl(address)
  const listener = {
    ...address,
    url,
    allowAnonymous,
    durability: wanted.durability ?? durability,
    ...(proxy && { proxy }),
    ...(origins && { origins }),
  }
  if (origins && !address.transport.startsWith('ws'))
    problems.push({ ...wanted.where('origins'), message: `${url} is no WebSocket: nothing there has an origin` })
  const secure = isTls(address.transport)
  if (!tls) {
    const message = `${url} needs a certificate, which only a configuration file can name: tls: { cert: FILE, key: FILE }`
    if (secure) problems.push({ ...wanted.where('url'), message })
    return listener
  }
  if (!secure) {
    const better = address.transport === 'tcp' ? 'tls' : 'wss'
    problems.push({ ...wanted.where('tls'), message: `${url} does not use TLS: make its url ${better}://` })
    return listener
  }
  return { ...listener, tls: openTls(tls, wanted, readFile, problems) }
}

function openTls(
  tls: NonNullable<FileListener['tls']>,
  { where }: Wanted,
  readFile: ReadFile,
  problems: Problem[],
): TlsSettings {
  const { requestCert, ca, crl, sni } = tls
  if (requestCert && ca === undefined)
    problems.push({ ...where('tls', 'requestCert'), message: 'needs a ca, to check the certificates of clients' })
  if (crl && !requestCert) problems.push({ ...where('tls', 'crl'), message: 'is of no use without requestCert: true' })
  const pem = (block: string, path: string, ...key: PropertyKey[]): PemFile => {
    const place = where('tls', ...key)
    const file = besideFile(place.source, path)
    try {
      const text = readFile(file)
      // The commonest slip: the files of cert and key the wrong way round.
      if (!text.includes(block)) problems.push({ ...place, message: `${file} holds no "${block}"` })
      return { file, pem: text }
    } catch (fault) {
      problems.push({ ...place, message: `cannot read ${file}: ${faultText(fault)}` })
      return { file, pem: '' }
    }
  }
  const certificate = '-----BEGIN CERTIFICATE-----'
  const pair = (named: { cert: string; key: string }, ...at: PropertyKey[]) => ({
    cert: pem(certificate, named.cert, ...at, 'cert'),
    key: pem('PRIVATE KEY-----', named.key, ...at, 'key'),
  })
  checkHosts(sni, where, problems)
  return {
    ...pair(tls),
    requestCert,
    ...(ca !== undefined && { ca: pem(certificate, ca, 'ca') }),
    ...(crl && { crl: crl.map((file, at) => pem('-----BEGIN X509 CRL-----', file, 'crl', at)) }),
    ...(sni && { sni: sni.map(({ hosts, ...named }, at) => ({ hosts, ...pair(named, 'sni', at) })) }),
  }
}

/** A host that stands there twice would have the certificate of whichever comes last. */
function checkHosts(sni: NonNullable<FileListener['tls']>['sni'], where: Wanted['where'], problems: Problem[]): void {
  const taken = new Set<string>()
  for (const [at, { hosts }] of sni?.entries() ?? [])
    for (const [which, host] of hosts.entries()) {
      if (taken.has(host))
        problems.push({ ...where('tls', 'sni', at, 'hosts', which), message: `${host} stands further up already` })
      taken.add(host)
    }
}

/** What no listener shows alone: two on one port, and a door that is open to everybody. */
export function checkTogether(
  listeners: readonly Wanted[],
  { allowPublic, auth }: { readonly allowPublic: boolean; readonly auth: boolean },
  problems: Problem[],
): void {
  const taken = new Map<string, string>()
  for (const { address, allowAnonymous, where } of listeners) {
    const url = addressUrl(address)
    const port = `${address.host.toLowerCase()} ${address.port}`
    const other = taken.get(port)
    if (other !== undefined && address.port !== 0) {
      problems.push({ ...where('url'), message: `${url} uses the same port as ${other}` })
    }
    taken.set(port, url)
    if (allowPublic || isLoopback(address.host) || (auth && !allowAnonymous)) continue
    const place = where('url')
    const why = auth ? 'takes anonymous clients (allowAnonymous)' : 'nobody has to log in (auth)'
    problems.push({ ...place, message: `${url} is open to other machines, and ${why}. ${opening(place)}` })
  }
}

function opening({ source, line }: Place): string {
  if (line !== undefined) return `To open it all the same, add this line to ${source}: allowPublic: true`
  if (source.startsWith('--')) return 'To open it all the same, add: --allow-public'
  return 'To open it all the same, set: GODWIT_ALLOW_PUBLIC=true'
}
