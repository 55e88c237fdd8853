import { z } from 'zod'
import type { Durability } from '../store/port.ts'
import { parseV4, parseV6 } from '../access/address.ts'
import { parseAddress } from './listener.ts'
import { object } from './object.ts'
import { isOrigin, originShape } from './origins.ts'

// From the strictest on.
const durabilities: readonly Durability[] = ['fsync', 'os', 'memory']

export const durability = z.enum(durabilities, `must be ${durabilities.join(', ')}`)
export const fileName = z.string('must be a file name').min(1, 'must be a file name')
const flag = z.boolean('must be true or false').default(false)

export const address = z.string('must be an address like tcp://127.0.0.1:1883').transform((text, context) => {
  const parsed = parseAddress(text)
  if (typeof parsed !== 'string') return parsed
  context.addIssue(parsed)
  return z.NEVER
})

const hostName = 'must be a host name like mqtt.example.com, or *.example.com'
const host = z
  .string(hostName)
  .regex(/^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/i, hostName)
  .transform((name) => name.toLowerCase())

const sni = object(
  { hosts: z.array(host, 'must be a list').min(1, 'must list a host name'), cert: fileName, key: fileName },
  'a map with hosts, cert and key',
)

const tls = object(
  {
    cert: fileName,
    key: fileName,
    ca: fileName.optional(),
    requestCert: flag,
    crl: z.array(fileName, 'must be a list').min(1, 'must list a file, or be left out').optional(),
    sni: z.array(sni, 'must be a list').optional(),
  },
  'a map with cert and key',
)

const peers = 'must be an address like 10.0.0.1, or a network like 10.0.0.0/8'
const peer = z.string(peers).refine((text) => isNetwork(text), peers)
const origin = z.string(originShape).refine((text) => isOrigin(text), originShape)

export const listenerSchema = object(
  {
    url: address,
    tls: tls.optional(),
    allowAnonymous: flag,
    durability: durability.optional(),
    proxy: z.array(peer, 'must be a list').min(1, 'must list a peer, or be left out').optional(),
    origins: z.array(origin, 'must be a list').optional(),
  },
  'a map with a url',
)
export type FileListener = z.output<typeof listenerSchema>

/** Keys that may stand at `path` within `listeners`. */
export function listenerKeysAt(path: readonly PropertyKey[]): readonly string[] {
  return Object.keys((path.includes('sni') ? sni : path.includes('tls') ? tls : listenerSchema).shape)
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  if (rest.length > 0 || address.includes('%')) return false
  const most = parseV4(address) ? 32 : parseV6(address) ? 128 : -1
  return most > 0 && (bits === undefined || (/^(0|[1-9][0-9]{0,2})$/.test(bits) && Number(bits) <= most))
}
