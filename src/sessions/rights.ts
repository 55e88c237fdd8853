import type { Topic, TopicFilter } from '../mqtt/topic.ts'

/**
 * What a client may do: `ClientPermissions`, as sessions ask it. A session that may do everything has none. What it says holds until
 * the next reload of the rules (`SessionContext.rules`).
 */
export interface Rights {
  /** Are all of these actions (bits of `Act`) allowed? */
  may(actions: number, topic: Topic): boolean
  mayFilter(filter: TopicFilter, shared: boolean): boolean
  publishes(topic: Topic): boolean
  receives(topic: Topic): boolean
  /** Whatever is published where the filter matches; false says only that each message must be asked of. */
  receivesAll(filter: TopicFilter): boolean
}
