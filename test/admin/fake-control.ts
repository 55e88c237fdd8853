import type { TenantReport } from '../../src/broker/tenant-figures.ts'
import {
  type ClusterControl,
  type ClusterStatus,
  type DrainReport,
  type Evicted,
  type LeftBehind,
  Refusal,
  type Table,
  type Verified,
} from '../../src/admin/control.ts'

/** Two tenants: one has everything, the other is only named. */
export function fakeTenants(): TenantReport {
  const nothing = { connections: 0, sessions: 0, subscriptions: 0, retainedMessages: 0, retainedBytes: 0 }
  const silent = { messagesIn: 0, messagesOut: 0, bytesIn: 0, bytesOut: 0, refused: 0 }
  const tenants = [
    {
      ...{
        tenant: 'north',
        connections: 2,
        sessions: 3,
        subscriptions: 1500,
        retainedMessages: 4,
        retainedBytes: 98_304,
      },
      ...{ messagesIn: 5, messagesOut: 6, bytesIn: 70, bytesOut: 80, refused: 9 },
    },
    { tenant: 'south', ...nothing, ...silent },
  ]
  return { forgotten: 1, tenants }
}

/** A cluster of three that is there only to be asked: `c` is dead, and 1,200 messages wait for it. */
export class FakeControl implements ClusterControl {
  /** What it was told to do. */
  readonly done: string[] = []
  behind: LeftBehind = { sessions: 3, messages: 40, waiting: [{ node: 'c', messages: 1200 }] }
  differences: Verified['differences'] = []
  drained: DrainReport = { moved: 3, remaining: 0, waiting: [] }

  state: ClusterStatus['state'] = 'serving'

  status(): ClusterStatus {
    const node = { queueMessages: 0, queueBytes: 0, handoff: false, draining: false, droppedQos0: 0, refused: 0 }
    return {
      clusterId: 'cluster-1',
      state: this.state,
      clients: 2,
      sessions: 3,
      evicted: 7,
      unserved: 0,
      lost: { offline: 2 },
      merged: { sessions: 0, messages: 0 },
      nodes: [
        { ...node, node: 'a', address: '127.0.0.1:7001', state: 'self', incarnation: 5, version: 0 },
        { ...node, node: 'b', address: '127.0.0.1:7002', state: 'alive', incarnation: 6, version: 2, queueMessages: 1 },
        {
          ...node,
          node: 'c',
          address: '127.0.0.1:7003',
          state: 'dead',
          incarnation: 7,
          version: 0,
          queueMessages: 1200,
          queueBytes: 98_304,
          handoff: true,
          droppedQos0: 12,
        },
      ],
    }
  }

  leftBehind(): LeftBehind {
    return this.behind
  }

  leave(): Promise<void> {
    this.done.push('leave')
    return Promise.resolve()
  }

  drain(clientsPerSecond: number): Promise<DrainReport> {
    this.done.push(`drain ${clientsPerSecond}`)
    return Promise.resolve(this.drained)
  }

  evict(node: string): Evicted {
    if (node !== 'b' && node !== 'c') throw new Refusal('no-such-node', `no node is named ${JSON.stringify(node)}`)
    this.done.push(`evict ${node}`)
    return node === 'c' ? { messages: 1200, bytes: 98_304 } : { messages: 0, bytes: 0 }
  }

  routes(): readonly Table[] {
    return [
      { node: 'a', incarnation: 5, version: 17, entries: 3, hash: '00000000deadbeef' },
      { node: 'b', incarnation: 6, version: 4, entries: 1, hash: '0000000000000007' },
    ]
  }

  verify(): Promise<Verified> {
    return Promise.resolve({ asked: ['b'], silent: [], differences: this.differences })
  }
}
