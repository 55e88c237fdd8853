import type { Cluster, Forwarded } from '../broker/cluster-port.ts'

const nobody: Forwarded = { nodes: 0, recorded: false, wait: undefined }

/** A node without a cluster. */
export const alone: Cluster = {
  alone: true,
  ready: true,
  serve() {},
  restore() {},
  state: () => undefined,
  moved() {},
  enter: (_newcomer, then) => then({ epoch: 0 }),
  began() {},
  ended() {},
  interest() {},
  persistence() {},
  barrier: () => undefined,
  retains: () => true,
  number() {},
  refusal: () => undefined,
  forward: () => nobody,
  move: () => false,
}
