import type { z } from 'zod'
import type { Limits } from '../broker/limits.ts'
import type { Overflow } from '../sessions/outlet.ts'
import type { Durability } from '../store/port.ts'
import { issueText } from './file.ts'
import type { Address } from './listener.ts'
import type { LogLevel } from './log-level.ts'
import type { Problem } from './problem.ts'
import {
  type ClusterKey,
  clusterNumberNames,
  fields,
  type FileAdmin,
  type FileCluster,
  limitNames,
  storeNames,
} from './schema.ts'
import type { StoreConfig } from './store.ts'
import { didYouMean } from './suggest.ts'

/** What the command line may set. Texts are as the person wrote them. */
export interface Flags {
  readonly listen?: readonly string[] | undefined
  readonly data?: string | undefined
  readonly config?: string | undefined
  readonly logLevel?: string | undefined
  readonly allowPublic?: boolean | undefined
  readonly durability?: string | undefined
  readonly cluster?: string | undefined
  readonly node?: string | undefined
  readonly clusterListen?: string | undefined
  readonly clusterAdvertise?: string | undefined
  readonly join?: readonly string[] | undefined
  readonly joinToken?: string | undefined
  readonly admin?: string | undefined
}

/** What the command line, or the environment, does set: checked. Undefined leaves the word to the file. */
export interface Overrides {
  readonly listeners: readonly { readonly address: Address; readonly source: string }[] | undefined
  readonly data: string | undefined
  readonly logLevel: LogLevel | undefined
  readonly allowPublic: boolean | undefined
  readonly durability: Durability | undefined
  readonly overflow: Overflow | undefined
  readonly limits: Partial<Limits>
  readonly store: Partial<StoreConfig>
  readonly cluster: FileCluster
  readonly admin: FileAdmin
}

export type Environment = Readonly<Record<string, string | undefined>>

/** `limits.packetBytes` is `GODWIT_LIMITS_PACKET_BYTES`. */
export function variableOf(map: 'limits' | 'store' | 'cluster' | 'admin', name: string): string {
  return `GODWIT_${map}_${name.replace(/[A-Z]/g, (letter) => `_${letter}`)}`.toUpperCase()
}

const variables = new Set([
  ...['GODWIT_LISTEN', 'GODWIT_DATA', 'GODWIT_CONFIG', 'GODWIT_LOG_LEVEL', 'GODWIT_ALLOW_PUBLIC'],
  ...['GODWIT_DURABILITY', 'GODWIT_OVERFLOW'],
  ...limitNames.map((name) => variableOf('limits', name)),
  ...storeNames.map((name) => variableOf('store', name)),
  ...Object.keys(fields.cluster).map((name) => variableOf('cluster', name)),
  ...Object.keys(fields.admin).map((name) => variableOf('admin', name)),
])

/** Flags of `start` that set a key of `cluster`. */
export const clusterFlags: Partial<Record<ClusterKey, string>> = {
  directory: '--cluster',
  node: '--node',
  listen: '--cluster-listen',
  advertise: '--cluster-advertise',
  join: '--join',
  joinToken: '--join-token',
}

// Kubernetes and Docker tell a container about its neighbours: a service named godwit makes GODWIT_SERVICE_HOST,
// GODWIT_PORT and GODWIT_PORT_1883_TCP in every pod, ours too. No setting of ours is named so.
const serviceLink = /_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$/

/** Reads the `--listen`, `--data`, … of `start`; what is wrong goes to `problems`. */
export function readFlags(flags: Flags, problems: Problem[]): Overrides {
  return {
    listeners: flags.listen && addresses('--listen', flags.listen, problems),
    data: check('--data', fields.data, flags.data, problems),
    logLevel: check('--log-level', fields.logLevel, flags.logLevel, problems),
    allowPublic: flags.allowPublic,
    durability: check('--durability', fields.durability, flags.durability, problems),
    overflow: undefined,
    limits: {},
    store: {},
    cluster: cluster(
      {
        directory: flags.cluster,
        node: flags.node,
        listen: flags.clusterListen,
        advertise: flags.clusterAdvertise,
        join: flags.join,
        joinToken: flags.joinToken,
      },
      (key) => clusterFlags[key]!,
      problems,
    ),
    admin: some({ listen: check('--admin', fields.admin.listen, flags.admin, problems) }),
  }
}

/**
 * Reads every `GODWIT_` variable; what is wrong goes to `problems`, and so does a variable that nobody reads, since it
 * is a slip of the finger. An empty variable counts as none: that is how compose files leave one out.
 */
export function readEnvironment(env: Environment, problems: Problem[]): Overrides {
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('GODWIT_') || variables.has(name) || !value || serviceLink.test(name)) continue
    problems.push({ source: name, message: `unknown variable${didYouMean(name, variables)}` })
  }
  const text = (name: string): string | undefined => env[name] || undefined
  const numbers = (map: 'limits' | 'store'): Record<string, number> => {
    const set = Object.entries(fields[map]).flatMap(([name, field]) => {
      const variable = variableOf(map, name)
      const value = check(variable, field, asNumber(env[variable]), problems)
      return value === undefined ? [] : [[name, value] as const]
    })
    return Object.fromEntries(set)
  }
  const listen = env['GODWIT_LISTEN']
  const split = listen ? listen.split(',').map((url) => url.trim()) : undefined
  return {
    listeners: split && addresses('GODWIT_LISTEN', split, problems),
    data: check('GODWIT_DATA', fields.data, text('GODWIT_DATA'), problems),
    logLevel: check('GODWIT_LOG_LEVEL', fields.logLevel, text('GODWIT_LOG_LEVEL'), problems),
    allowPublic: check('GODWIT_ALLOW_PUBLIC', fields.allowPublic, asBoolean(env['GODWIT_ALLOW_PUBLIC']), problems),
    durability: check('GODWIT_DURABILITY', fields.durability, text('GODWIT_DURABILITY'), problems),
    overflow: check('GODWIT_OVERFLOW', fields.overflow, text('GODWIT_OVERFLOW'), problems),
    limits: numbers('limits'),
    store: numbers('store'),
    cluster: cluster(
      Object.fromEntries(
        Object.keys(fields.cluster).map((key): [string, unknown] => {
          const given = text(variableOf('cluster', key))
          if (key === 'join') return [key, given?.split(',').map((address) => address.trim())]
          return [key, (clusterNumberNames as string[]).includes(key) ? asNumber(given) : given]
        }),
      ),
      (key) => variableOf('cluster', key),
      problems,
    ),
    admin: some({
      listen: check('GODWIT_ADMIN_LISTEN', fields.admin.listen, text('GODWIT_ADMIN_LISTEN'), problems),
      tokenFile: check('GODWIT_ADMIN_TOKEN_FILE', fields.admin.tokenFile, text('GODWIT_ADMIN_TOKEN_FILE'), problems),
    }),
  }
}

/** Checks keys of `cluster`, as texts or numbers, and each address of a list for itself. */
function cluster(
  given: { readonly [Key in ClusterKey]?: unknown },
  sourceOf: (key: ClusterKey) => string,
  problems: Problem[],
): FileCluster {
  const entries = (Object.keys(fields.cluster) as ClusterKey[]).map((key) => {
    const value = given[key]
    const source = sourceOf(key)
    if (!Array.isArray(value)) return [key, check<unknown>(source, fields.cluster[key], value, problems)] as const
    const { element } = fields.cluster.join
    return [key, value.flatMap((text: unknown) => check(source, element, text, problems) ?? [])] as const
  })
  return some(Object.fromEntries(entries))
}

/** Without the keys that nothing was said of. */
function some<T extends object>(values: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never
}

function addresses(source: string, texts: readonly string[], problems: Problem[]): Overrides['listeners'] {
  return texts.flatMap((text) => {
    const address = check(source, fields.url, text, problems)
    return address ? [{ address, source }] : []
  })
}

function check<T>(source: string, field: z.ZodType<T>, value: unknown, problems: Problem[]): T | undefined {
  if (value === undefined) return undefined
  const result = field.safeParse(value)
  if (result.success) return result.data
  problems.push(...result.error.issues.map((issue) => ({ source, message: issueText(issue, value) })))
  return undefined
}

// A text that is none stays one, and fails its check with the text in the message.
function asNumber(text: string | undefined): number | string | undefined {
  return text ? (/^[0-9]+$/.test(text) ? Number(text) : text) : undefined
}

function asBoolean(text: string | undefined): boolean | string | undefined {
  return text ? ({ true: true, false: false, '1': true, '0': false }[text] ?? text) : undefined
}
