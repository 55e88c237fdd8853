import type { ClusterNode, NodeStatus } from '../cluster/cluster.ts'
import type { Verdict } from '../cluster/verification.ts'
import type { Session } from '../sessions/session.ts'
import {
  type ClusterControl,
  type ClusterStatus,
  type Difference,
  type DrainReport,
  type Evicted,
  type LeftBehind,
  Refusal,
  type Verified,
  type Volume,
} from './control.ts'

export interface Controlled {
  readonly cluster: ClusterNode
  readonly clusterId: string
  readonly sessions: { readonly online: number; readonly size: number; values(): Iterable<Session> }
  /** The node has left for good. */
  readonly left: () => void
}

/** A node of a cluster, for the admin API. */
export function clusterControl({ cluster, clusterId, sessions, left }: Controlled): ClusterControl {
  let hasLeft = false
  let drained: Promise<DrainReport> | undefined
  const leave = (): Promise<void> => {
    if (!hasLeft) cluster.leave()
    hasLeft = true
    left()
    return Promise.resolve()
  }
  const drain = (clientsPerSecond: number): Promise<DrainReport> => {
    // Under way: the answer is for all who ask.
    if (drained) return drained
    let tell!: (report: DrainReport) => void
    const told = new Promise<DrainReport>((resolve) => (tell = resolve))
    const started = cluster.drain(clientsPerSecond, ({ done, ...report }) => {
      drained = undefined
      tell(report)
      if (done) void leave()
    })
    if (!started) throw new Refusal('not-possible', 'no other node is there that could take over what this one has')
    return (drained = told)
  }
  const stateOf = (): ClusterStatus['state'] => {
    if (hasLeft) return 'left'
    if (cluster.members.evicted) return 'evicted'
    return cluster.draining ? 'draining' : 'serving'
  }
  return {
    status: () => ({
      clusterId,
      state: stateOf(),
      clients: sessions.online,
      sessions: sessions.size,
      evicted: cluster.forwarding.evicted,
      unserved: cluster.forwarding.unserved,
      lost: lostOf(cluster),
      merged: mergedOf(cluster),
      nodes: cluster.status(),
    }),
    leftBehind: () => leftBehind(sessions.values(), cluster.status()),
    leave,
    drain,
    evict: (node) => evict(cluster, node),
    routes: () =>
      // Ourselves first. Where nobody has wanted anything yet, there is no table to tell of.
      cluster.status().map(({ node, incarnation }) => {
        const table = node === cluster.node ? cluster.gossip.own : cluster.gossip.owner(node)
        const { version = 0, size: entries = 0, hash = nothing } = table ?? {}
        return { node, incarnation: table?.incarnation || incarnation, version, entries, hash }
      }),
    verify: () =>
      new Promise((resolve) =>
        cluster.gossip.verify((verdicts) => resolve(verified(cluster.node, cluster.status(), verdicts))),
      ),
  }
}

function lostOf({ forwarding }: ClusterNode): ClusterStatus['lost'] {
  return Object.fromEntries(Object.entries(forwarding.ledger.lost).filter(([, count]) => count > 0))
}

function mergedOf({ handover }: ClusterNode): Volume {
  const { merged, mergedMessages } = handover.counts
  return { sessions: merged, messages: mergedMessages }
}

/** Set hash of an empty table. */
const nothing = '0'.repeat(16)

/** Sessions that would wait for their clients in vain, and queues that would go to nobody. */
function leftBehind(sessions: Iterable<Session>, nodes: readonly NodeStatus[]): LeftBehind {
  let count = 0
  let messages = 0
  for (const session of sessions) {
    if (!session.persistent) continue
    count++
    messages += session.pending
  }
  const waiting = nodes.flatMap(({ node, handoff, queueMessages }) =>
    handoff ? [{ node, messages: queueMessages }] : [],
  )
  return { sessions: count, messages, waiting }
}

function evict(cluster: ClusterNode, node: string): Evicted {
  const found = cluster.status().find((other) => other.node === node)
  if (!found) throw new Refusal('no-such-node', `no node is named ${node}`)
  const { state } = found
  if (state === 'self') throw new Refusal('not-possible', 'a node cannot give itself up; leave, or drain, takes it out')
  if (state === 'alive' || state === 'suspect')
    throw new Refusal('not-possible', `${node} is ${state}: only a node that is dead, or has left, can be given up`)
  return cluster.evict(node)
}

function verified(self: string, nodes: readonly NodeStatus[], verdicts: readonly Verdict[]): Verified {
  const asked = verdicts.filter(({ answered }) => answered).map(({ node }) => node)
  const silent = nodes
    .filter(({ node, state }) => node !== self && (state === 'alive' || state === 'suspect') && !asked.includes(node))
    .map(({ node }) => node)
  const differences = verdicts.flatMap(({ node: peer, older, newer, different }): Difference[] => [
    ...different.map((owner) => ({ owner, peer, behind: false })),
    ...[...older, ...newer].map((owner) => ({ owner, peer, behind: true })),
  ])
  return { asked, silent, differences }
}
