import type { Message } from '../mqtt/message.ts'
import type { RetainedStore } from '../retain/retained.ts'
import { Root } from '../mqtt/root.ts'
import type { Tenants } from './tenants.ts'

/** One tenant on this node. What crossed its connections, and what was refused, counts from the start of the node. */
export interface TenantFigures {
  readonly tenant: string
  readonly connections: number
  readonly sessions: number
  readonly subscriptions: number
  readonly retainedMessages: number
  readonly retainedBytes: number
  readonly messagesIn: number
  readonly messagesOut: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly refused: number
}

export interface TenantReport {
  /** Tenants that had nothing here, and whose figures went as there were too many. */
  readonly forgotten: number
  /** By name. */
  readonly tenants: readonly TenantFigures[]
}

/** Of each tenant that the configuration names, that is known here, or of which something is retained. */
export function tenantFigures(tenants: Tenants, retained: RetainedStore<Message>): TenantReport {
  const known = new Map([...tenants.known()].map((tenant) => [tenant.name, tenant]))
  const names = new Set([
    ...tenants.named,
    ...known.keys(),
    ...Array.from(retained.roots(), (root) => Root.tenantOf(root)),
  ])
  const rows = [...names].sort().map((name) => {
    const { connections = 0, sessions = 0, subscriptions = 0, refused = 0, traffic } = known.get(name) ?? {}
    const { messages, bytes } = retained.volume(new Root(name).text)
    const { messagesIn = 0, messagesOut = 0, bytesIn = 0, bytesOut = 0 } = traffic ?? {}
    return {
      ...{ tenant: name, connections, sessions, subscriptions, retainedMessages: messages, retainedBytes: bytes },
      ...{ messagesIn, messagesOut, bytesIn, bytesOut, refused },
    }
  })
  return { forgotten: tenants.forgotten, tenants: rows }
}
