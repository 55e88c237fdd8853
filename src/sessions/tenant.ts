import { Traffic } from '../mqtt/output.ts'
import { Root } from '../mqtt/root.ts'

/** What a tenant may have on this node; Infinity where nothing is said. */
export interface TenantLimits {
  readonly connections: number
  readonly sessions: number
  /** Of all its sessions together. */
  readonly subscriptions: number
  readonly retained: { readonly messages: number; readonly bytes: number }
}

/** One tenant on this node: where its topics stand, what it may have, and what it has. What is retained counts `RetainedStore`. */
export class Tenant {
  readonly root: Root
  connections = 0
  sessions = 0
  subscriptions = 0
  /** Connections, subscriptions and messages that its clients were refused, and messages that were not retained. */
  refused = 0
  /** What its clients have sent and were sent since the node began, or since it forgot the tenant. */
  readonly traffic = new Traffic()

  constructor(
    readonly name: string,
    /** A reload brings others. */
    public limits: TenantLimits,
  ) {
    this.root = new Root(name)
  }
}
