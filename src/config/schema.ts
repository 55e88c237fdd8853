import { z } from 'zod'
import type { Limits } from '../broker/limits.ts'
import type { ClusterSettings } from '../cluster/cluster.ts'
import { parseFilter } from '../mqtt/topic.ts'
import type { Overflow } from '../sessions/outlet.ts'
import { authKeysAt, authSchema } from './auth-schema.ts'
import { parseHostPort } from './host-port.ts'
import { address, durability, fileName, listenerKeysAt, listenerSchema } from './listener-schema.ts'
import { logLevels } from './log-level.ts'
import { object } from './object.ts'
import { permissionKeysAt, permissionsSchema } from './permissions.ts'
import { memoryKeys, memorySchema } from './memory.ts'
import { rateKeysAt, ratesSchema } from './rates.ts'
import type { StoreConfig } from './store.ts'
import { tenantKeysAt, tenantsSchema } from './tenants.ts'

const kibibyte = 2 ** 10
const mebibyte = 2 ** 20
const gibibyte = 2 ** 30
const tebibyte = 2 ** 40
const million = 1_000_000

// The least and the most that each limit may be. The odd figures are the protocol's: 268,435,460 is the largest packet
// there is (MQTT 5.0, 2.1.4), a 3.1.1 server must take client ids of 23 bytes (3.1.3.1), and many fields are two or four
// bytes wide. The others stop slips of the finger, like bytes where seconds were meant.
const limitBounds: Record<keyof Limits, readonly [least: number, most: number]> = {
  packetBytes: [128, 268_435_460],
  packetBytesBeforeConnect: [128, 268_435_460],
  bytesBeforeConnectTotal: [mebibyte, tebibyte],
  connectSeconds: [1, 3600],
  hookSeconds: [1, 600],
  clientIdBytes: [23, 65_535],
  userProperties: [0, 65_535],
  userPropertyBytes: [0, 268_435_455],
  subscriptionsPerSession: [1, 10 * million],
  topicAliases: [0, 65_535],
  receiveMaximum: [1, 65_535],
  inflightMessages: [1, 65_535],
  queueMessages: [0, 1000 * million],
  queueBytes: [0, tebibyte],
  queueBytesTotal: [0, tebibyte],
  sessionExpirySeconds: [0, 4_294_967_295],
  keepAliveSeconds: [1, 65_535],
  unsentBytes: [1024, tebibyte],
  stallSeconds: [1, 86_400],
  retainedMessages: [0, 1000 * million],
  retainedBytes: [0, tebibyte],
  sysSeconds: [0, 86_400],
}

// A start replays what came since the last checkpoint; a checkpoint, a collection and a full disk all need some room.
const storeBounds: Record<keyof StoreConfig, readonly [least: number, most: number]> = {
  segmentBytes: [mebibyte, gibibyte],
  checkpointBytes: [mebibyte, 4 * gibibyte],
  cacheBytes: [mebibyte, 64 * gibibyte],
  reserveBytes: [mebibyte, tebibyte],
  collectBytesPerSecond: [64 * kibibyte, tebibyte],
}

// A barrier of 0 waits for nobody. Tombstones must outlive any time that a node is away for.
const clusterBounds: Record<Exclude<keyof ClusterSettings, 'absentOwner'>, readonly [least: number, most: number]> = {
  handoffMessages: [0, 1000 * million],
  handoffBytes: [0, tebibyte],
  handoffAfterMs: [100, 3_600_000],
  barrierMs: [0, 60_000],
  tombstoneSeconds: [60, 4_294_967_295],
}

export const limitNames = Object.keys(limitBounds) as (keyof Limits)[]
export const clusterNumberNames = Object.keys(clusterBounds) as (keyof typeof clusterBounds)[]
export const storeNames = Object.keys(storeBounds) as (keyof StoreConfig)[]

const overflows: readonly Overflow[] = ['drop-oldest', 'drop-newest', 'reject']
const absentOwners: readonly ClusterSettings['absentOwner'][] = ['wait', 'fresh']

// Every message reads after the name of the key, and before the value that was found.
const wholeNumber = ([least, most]: readonly [number, number]): z.ZodType<number> => {
  const message = `must be a whole number from ${least} to ${most}`
  return z.int(message).min(least, message).max(most, message)
}
const numbers = <Name extends string>(bounds: Record<Name, readonly [number, number]>) =>
  Object.fromEntries(
    Object.entries<readonly [number, number]>(bounds).map(([name, range]) => [name, wholeNumber(range)]),
  ) as Record<Name, z.ZodType<number>>

const hostPort = (least: number) =>
  z.string('must be an address like 127.0.0.1:7001').transform((text, context) => {
    const parsed = parseHostPort(text)
    if (typeof parsed === 'string') context.addIssue(parsed)
    else if (parsed.port < least) context.addIssue('port 0 is none that can be dialled')
    else return parsed
    return z.NEVER
  })

// It stands in certificates as a host name, and case is nothing that host names differ by.
const nodeName = 'must be a name of up to 63 small letters, digits and "-", with "-" at neither end'
const node = z.string(nodeName).regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, nodeName)

const filter = z.string('must be a topic filter').transform((text, context) => {
  try {
    const parsed = parseFilter(text)
    if (parsed.group === undefined) return parsed.filter
    context.addIssue('a shared subscription says who gets a message, not which one: leave out $share/<group>/')
  } catch (fault) {
    context.addIssue((fault as Error).message)
  }
  return z.NEVER
})
const durabilityRule = object({ filter, durability }, 'a map with a filter and a durability')

/** One field at a time, so that a flag, a variable and the file are held to the same rule. */
export const fields = {
  url: address,
  data: z.string('must be a directory name').min(1, 'must be a directory name'),
  logLevel: z.enum(logLevels, `must be ${logLevels.join(', ')}`),
  allowPublic: z.boolean('must be true or false'),
  durability,
  overflow: z.enum(overflows, `must be ${overflows.join(', ')}`),
  limits: numbers(limitBounds),
  store: numbers(storeBounds),
  cluster: {
    directory: z.string('must be a directory name').min(1, 'must be a directory name'),
    node,
    listen: hostPort(0),
    advertise: hostPort(1),
    join: z.array(hostPort(1), 'must be a list of addresses'),
    joinToken: z.string('must be a token').min(1, 'must be a token'),
    clientAddress: hostPort(1),
    absentOwner: z.enum(absentOwners, `must be ${absentOwners.join(', ')}`),
    ...numbers(clusterBounds),
  },
  admin: {
    listen: z.union([z.literal('off'), hostPort(0)], 'must be an address like 127.0.0.1:18083, or off'),
    tokenFile: fileName,
  },
}
export type ClusterKey = keyof typeof fields.cluster

// Zod writes `number | undefined`, but a key that is there has a number.
const limits = object(fields.limits, 'a map of limits').partial() as z.ZodType<Partial<Limits>>
const store = object(fields.store, 'a map of store settings').partial() as z.ZodType<Partial<StoreConfig>>
const cluster = object(fields.cluster, 'a map of cluster settings').partial()
const audit = object({ file: fileName }, 'a map with a file')
const admin = object(fields.admin, 'a map with listen or tokenFile').partial()

/** What a file may say. Unknown keys are refused: a misspelt limit that is quietly ignored is no limit. */
export const fileSchema = object(
  {
    listeners: z.array(listenerSchema, 'must be a list').min(1, 'must list a listener, or be left out').optional(),
    data: fields.data.optional(),
    logLevel: fields.logLevel.optional(),
    allowPublic: fields.allowPublic.optional(),
    durability: fields.durability.optional(),
    durabilityByTopic: z.array(durabilityRule, 'must be a list').optional(),
    overflow: fields.overflow.optional(),
    limits: limits.optional(),
    store: store.optional(),
    cluster: cluster.optional(),
    admin: admin.optional(),
    auth: authSchema.optional(),
    audit: audit.optional(),
    permissions: permissionsSchema.optional(),
    rates: ratesSchema.optional(),
    memory: memorySchema.optional(),
    tenants: tenantsSchema.optional(),
  },
  'a map with keys such as listeners and data',
)
export type FileConfig = z.output<typeof fileSchema>
export type FileCluster = z.output<typeof cluster>
export type FileAdmin = z.output<typeof admin>

/** Every key that may stand at `path`, to find the one that was meant. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  if (path.length === 0) return Object.keys(fileSchema.shape)
  if (path[0] === 'limits') return limitNames
  if (path[0] === 'store') return storeNames
  if (path[0] === 'cluster') return Object.keys(fields.cluster)
  if (path[0] === 'admin') return Object.keys(fields.admin)
  if (path[0] === 'audit') return Object.keys(audit.shape)
  if (path[0] === 'auth') return authKeysAt(path)
  if (path[0] === 'permissions') return permissionKeysAt(path)
  if (path[0] === 'tenants') return tenantKeysAt(path)
  if (path[0] === 'memory') return memoryKeys
  if (path[0] === 'rates') return rateKeysAt(path)
  if (path[0] === 'durabilityByTopic') return Object.keys(durabilityRule.shape)
  return listenerKeysAt(path)
}
