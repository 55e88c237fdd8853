import { type ClusterControl, Refusal } from './control.ts'

/** What a node alone has to tell about itself. */
export interface Lonely {
  readonly incarnation: number
  clients(): number
  sessions(): number
}

/** A node without a cluster: a status of one node, and nothing to leave. */
export function aloneControl(node: Lonely): ClusterControl {
  const refuse = (): never => {
    throw new Refusal('no-cluster', 'this node is in no cluster; godwit start --cluster makes it part of one')
  }
  return {
    status: () => ({
      clusterId: undefined,
      state: 'serving',
      clients: node.clients(),
      sessions: node.sessions(),
      evicted: 0,
      unserved: 0,
      lost: {},
      merged: { sessions: 0, messages: 0 },
      nodes: [
        {
          node: 'alone',
          address: '-',
          state: 'self',
          incarnation: node.incarnation,
          version: 0,
          queueMessages: 0,
          queueBytes: 0,
          handoff: false,
          draining: false,
          droppedQos0: 0,
          refused: 0,
        },
      ],
    }),
    leftBehind: refuse,
    leave: refuse,
    drain: refuse,
    evict: refuse,
    routes: refuse,
    verify: refuse,
  }
}
