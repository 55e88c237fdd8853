import type { Cluster } from '../broker/cluster-port.ts'

/** A node without a cluster. */
export const alone: Cluster = {
  interest() {},
  forward() {},
}
