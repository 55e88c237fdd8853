import type { Message } from '../mqtt/message.ts'

/** What the broker tells the other nodes. The cluster room implements it; a node alone tells nobody. */
export interface Cluster {
  /** The first subscriber here of a filter (or of a group's filter) came, or the last one left. */
  interest(filter: string, group: string | undefined, present: boolean): void
  /** A message was published here: it goes to the nodes that want it. */
  forward(message: Message): void
}
