/**
 * When, and on which node, a retained message was set or cleared. Stamps are totally ordered, and no two changes of a topic
 * have the same one: of the changes that nodes tell each other, the newest wins everywhere, in whatever order they come.
 */
export interface Stamp {
  /** Unix milliseconds, or ahead of them (a hybrid logical clock). */
  readonly ms: number
  /** Orders what one node did in the same millisecond. */
  readonly count: number
  /** Orders what several did. */
  readonly node: string
}

export function isNewer(stamp: Stamp, than: Stamp | undefined): boolean {
  if (than === undefined) return true
  if (stamp.ms !== than.ms) return stamp.ms > than.ms
  return stamp.count === than.count ? stamp.node > than.node : stamp.count > than.count
}
