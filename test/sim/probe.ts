import { Pages } from '../../src/mqtt/output.ts'
import { type Timed, TimingWheel } from '../../src/sessions/wheel.ts'
import { patch } from './patch.ts'

let current: Probe | undefined

// What the broker keeps to itself is seen through the prototypes of its parts; it needs no doors for tests.
patch(
  Pages.prototype,
  'take',
  (take) =>
    function (this: Pages, large) {
      current?.pages.add(this)
      return take.call(this, large)
    },
)
patch(
  TimingWheel.prototype,
  'schedule',
  (schedule) =>
    function (this: TimingWheel, item, atMs) {
      current?.timed.add(item)
      schedule.call(this, item, atMs)
    },
)

/** Looks at the pages and timers of the broker of one world; the last one made is the one that is watched. */
export class Probe {
  readonly pages = new Set<Pages>()
  readonly timed = new Set<Timed>()

  watch<T>(make: () => T): T {
    // eslint-disable-next-line @typescript-eslint/no-this-alias
    current = this
    return make()
  }

  /** Bytes of pages that are lent now. */
  get lentBytes(): number {
    let bytes = 0
    for (const pages of this.pages) bytes += pages.lentBytes
    return bytes
  }

  /** Items that stand in the wheel. */
  get timers(): number {
    let timers = 0
    for (const item of this.timed) if (item.tick >= 0) timers++
    return timers
  }
}
