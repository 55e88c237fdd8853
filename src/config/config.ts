import type { ConnectionRateLimits } from '../access/connection-rates.ts'
import type { Rule } from '../access/rules.ts'
import type { DurabilityRule } from '../broker/durability.ts'
import { defaultLimits, type Limits } from '../broker/limits.ts'
import type { Rates } from '../broker/rates.ts'
import { noTenants, type TenantBook } from '../broker/tenants.ts'
import type { Overflow } from '../sessions/outlet.ts'
import type { Durability } from '../store/port.ts'
import { type AdminConfig, adminListener } from './admin.ts'
import { authOf, type AuthConfig } from './auth.ts'
import { type ClusterConfig, clusterOf } from './cluster.ts'
import { parseFile, type ParsedFile } from './file.ts'
import { besideFile, faultText, type ReadFile } from './files.ts'
import type { Listener } from './listener.ts'
import { defaultMemoryLimit, limitsWithin, type MemoryThere } from './memory.ts'
import { checkTogether, openListener, wantedListeners } from './listeners.ts'
import type { LogLevel } from './log-level.ts'
import { readEnvironment, readFlags, type Environment, type Flags } from './overrides.ts'
import { permissionsOf } from './permissions.ts'
import { ConfigError, type Problem } from './problem.ts'
import { connectionRatesOf } from './rates.ts'
import { defaultStore, type StoreConfig } from './store.ts'

/** All that a node is told, with every default filled in. Only `loadConfig` makes one, and nobody changes it. */
export interface Config {
  readonly listeners: readonly Listener[]
  /** Directory for everything that must outlive the process; nothing opens it when `store` is undefined. */
  readonly data: string
  /** Undefined: nothing is kept on disk, as no topic, no listener and not the default asks for more than memory. */
  readonly store: StoreConfig | undefined
  /** The class of what comes through no listener; a listener that names none has it already. */
  readonly durability: Durability
  /** Wins over the listener's; the first that matches counts. */
  readonly durabilityByTopic: readonly DurabilityRule[]
  /** What gives way when a queue is full. */
  readonly overflow: Overflow
  readonly logLevel: LogLevel
  readonly limits: Limits
  /** May other machines reach a listener, although nobody has to say who they are? */
  readonly allowPublic: boolean
  /** Undefined: a node alone. */
  readonly cluster: ClusterConfig | undefined
  /** Undefined: nobody can ask it anything. */
  readonly admin: AdminConfig | undefined
  /** How clients prove who they are; undefined: nobody has to. */
  readonly auth: AuthConfig | undefined
  /** Where it is written down who has logged in, was refused, or has changed something; undefined: nowhere. */
  readonly audit: { readonly file: string } | undefined
  /** Who may do what; undefined: everybody may do everything. */
  readonly permissions: readonly Rule[] | undefined
  /** What clients and users may send in a time; undefined: as much as they like. */
  readonly rates: Rates | undefined
  /** Which tenants may come in, and what they may have. */
  readonly tenants: TenantBook
  /** What the process may hold; undefined: nothing is shed. */
  readonly memory: { readonly limitBytes: number } | undefined
  /** How often, and how often at a time, an address may connect. */
  readonly connectionRates: ConnectionRateLimits
}

export interface Sources {
  readonly flags: Flags
  readonly env: Environment
  readonly readFile: ReadFile
  /** Default: nobody knows, and without a limit in the file there is none. */
  readonly memory?: MemoryThere
  /** Is there an admin listener, when nothing is said of one? Default: yes. */
  readonly adminByDefault?: boolean
}

/**
 * Joins the sources of the configuration: flags, then the environment, then the file, then defaults.
 * @throws ConfigError with everything that is wrong, each with the place that a person must go to.
 */
export function loadConfig({ flags, env, readFile, memory, adminByDefault = true }: Sources): Config {
  const problems: Problem[] = []
  const fromFlags = readFlags(flags, problems)
  const fromEnv = readEnvironment(env, problems)
  const file = openFile(flags, env, readFile, problems)
  const values = file?.values

  const wanted = wantedListeners(fromFlags.listeners ?? fromEnv.listeners, file)
  const durability = fromFlags.durability ?? fromEnv.durability ?? values?.durability ?? 'fsync'
  const durabilityByTopic = values?.durabilityByTopic ?? []
  const listeners = wanted.map((listener) => openListener(listener, durability, readFile, problems))
  const allowPublic = fromFlags.allowPublic ?? fromEnv.allowPublic ?? values?.allowPublic ?? false
  checkTogether(wanted, { allowPublic, auth: values?.auth !== undefined }, problems)
  const classes = [durability, ...listeners.map((listener) => listener.durability)]
  const onDisk = [...classes, ...durabilityByTopic.map((rule) => rule.durability)].some((name) => name !== 'memory')
  const cluster = clusterOf(fromFlags.cluster, fromEnv.cluster, file, problems)
  const asked = { flags: fromFlags.admin, env: fromEnv.admin, file, allowPublic, onDisk, byDefault: adminByDefault }
  const admin = adminListener(asked, problems)
  const asksForCertificates = wanted.some(({ tls }) => tls?.requestCert)
  const auth = authOf({ file, readFile, asksForCertificates }, problems)
  const limitBytes = values?.memory?.limitBytes ?? (memory && defaultMemoryLimit(memory))
  const limits = { ...defaultLimits, ...(limitBytes && limitsWithin(limitBytes, defaultLimits)) }
  if (problems.length > 0) throw new ConfigError(problems)

  return {
    listeners,
    data:
      fromFlags.data ?? fromEnv.data ?? (file && values?.data ? besideFile(file.source, values.data) : './godwit-data'),
    store: onDisk ? { ...defaultStore, ...values?.store, ...fromEnv.store } : undefined,
    durability,
    durabilityByTopic,
    overflow: fromEnv.overflow ?? values?.overflow ?? 'drop-newest',
    logLevel: fromFlags.logLevel ?? fromEnv.logLevel ?? values?.logLevel ?? 'info',
    limits: { ...limits, ...values?.limits, ...fromEnv.limits },
    allowPublic,
    cluster,
    admin,
    auth,
    audit: file && values?.audit && { file: besideFile(file.source, values.audit.file) },
    permissions: permissionsOf(file),
    rates: values?.rates,
    tenants: values?.tenants ?? noTenants,
    memory: limitBytes === undefined ? undefined : { limitBytes },
    connectionRates: connectionRatesOf(values?.rates?.connections),
  }
}

function openFile(flags: Flags, env: Environment, readFile: ReadFile, problems: Problem[]): ParsedFile | undefined {
  const name = flags.config ?? (env['GODWIT_CONFIG'] || undefined)
  if (name === undefined) return undefined
  let text: string
  try {
    text = readFile(name)
  } catch (fault) {
    const source = flags.config === undefined ? 'GODWIT_CONFIG' : '--config'
    problems.push({ source, message: `cannot read ${name}: ${faultText(fault)}` })
    return undefined
  }
  return parseFile(name, text, problems)
}
