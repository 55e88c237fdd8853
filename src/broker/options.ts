import type { Hooks } from '../access/hooks.ts'
import type { Host, MemoryGauge } from '../host.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import type { Places } from '../store/places.ts'
import type { Store } from '../store/port.ts'
import type { Access } from './access.ts'
import type { Cluster } from './cluster-port.ts'
import type { Rulebook } from './entitling.ts'
import type { Limits } from './limits.ts'
import type { Observer } from './observer.ts'
import type { Keeping } from './publishing.ts'
import type { Rates } from './rates.ts'
import type { TenantBook } from './tenants.ts'

/** What a broker is made of. */
export interface BrokerOptions {
  readonly host: Host
  readonly limits: Limits
  /** Default: fsync for all, and the newest gives way when a queue is full. */
  readonly keeping?: Keeping
  /** Default: clients may send as much as they like. */
  readonly rates?: Rates | undefined
  /** Default: nobody who belongs to a tenant may come in. */
  readonly tenants?: TenantBook
  readonly store: Store
  /** Shared with the store, so that a topic is one object. Default: its own. */
  readonly topics?: TopicTable
  /** Shared with the store, so that what it has read is not in memory twice. Default: its own. */
  readonly places?: Places
  readonly cluster: Cluster
  /** Default: nobody has to log in. */
  readonly access?: Access
  readonly hooks: Hooks
  /** Default: everybody may do everything. */
  readonly rulebook?: Rulebook
  readonly observer: Observer
  readonly version: string
  /** Default: nobody measures, and nothing is shed. */
  readonly memory?: { readonly gauge: MemoryGauge; readonly limitBytes: number } | undefined
  /** Bytes of heap in use, for `$SYS`. */
  readonly heapBytes: () => number
  /** Connections that listeners have refused, for `$SYS`. Default: there are no listeners. */
  readonly connectionsRefused?: () => number
}
