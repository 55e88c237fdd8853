import { expect, test } from 'vitest'
import { FrameOutput } from '../../src/cluster/frame-output.ts'
import { Link } from '../../src/cluster/link.ts'
import { Links } from '../../src/cluster/links.ts'
import { patch } from '../sim/patch.ts'
import { farewell, hush, refusal, storm } from './links-storm.ts'

/** What is wrong, or what has ended it. */
function judged(judge: Judge, seed: number): string[] {
  try {
    return judge(seed)
  } catch (fault) {
    return [`thrown: ${String(fault)}`]
  }
}

const unlinked = /is linked to|connections are open/
type Judge = (seed: number) => string[]
const mutants: readonly (readonly [what: string, judge: Judge, sign: RegExp, plant: () => () => void])[] = [
  [
    'credit is never renewed',
    storm,
    /bytes of credit/,
    () =>
      patch(
        Link.prototype,
        'sign',
        (sign) =>
          function (this: Link) {
            // A sign of life all the same.
            const handled = Object.getOwnPropertyDescriptor(this, 'renewed')
            if (handled === undefined) Object.defineProperty(this, 'renewed', { value: true })
            else this.begin(0x05)
            if (handled === undefined) sign.call(this)
            else this.end()
          },
      ),
  ],
  [
    'a frame is charged with its length, which the peer does not count',
    storm,
    /bytes of credit/,
    () =>
      patch(
        FrameOutput.prototype,
        'end',
        (end) =>
          function (this: FrameOutput) {
            return end.call(this) + 4
          },
      ),
  ],
  [
    'the version is the newest of the peer',
    storm,
    /speaks version 2/,
    () =>
      patch(
        Link.prototype,
        'welcome',
        (welcome) =>
          function (this: Link, _version, nowMs) {
            welcome.call(this, this.greeting.newest, nowMs)
          },
      ),
  ],
  [
    'of two links both stay',
    storm,
    unlinked,
    () =>
      patch(
        Link.prototype,
        'refuse',
        (refuse) =>
          function (this: Link, end, why) {
            if (end !== 'duplicate') refuse.call(this, end, why)
          },
      ),
  ],
  [
    'frames of a link that is over are handled',
    farewell,
    /behind the end/,
    () =>
      patch(
        Link.prototype,
        'data',
        (data) =>
          function (this: Link, chunk) {
            const { state } = this
            const wasUp = this.version > 0 && state === 'over'
            if (wasUp) this.state = 'up'
            data.call(this, chunk)
            if (wasUp) this.state = 'over'
          },
      ),
  ],
  [
    'who is welcomed counts as linked before it has answered',
    refusal,
    /\+/,
    () =>
      patch(
        Links.prototype,
        'greeted',
        (greeted) =>
          function (this: Links, link) {
            greeted.call(this, link)
            if (link.state !== 'welcomed') return
            link.state = 'up'
            this.up(link)
          },
      ),
  ],
  [
    'a link that is over stays among the links',
    storm,
    /.+/,
    () =>
      patch(
        Links.prototype,
        'over',
        (over) =>
          function (this: Links, link, end, why) {
            over.call(this, link, end, why)
            if (link.version > 0 && end === 'broken') this.up(link)
          },
      ),
  ],
  [
    'silence is not noticed',
    hush,
    unlinked,
    () =>
      patch(
        Link.prototype,
        'cut',
        (cut) =>
          function (this: Link, end, why) {
            if (end !== 'silent' && end !== 'ungreeted') cut.call(this, end, why)
          },
      ),
  ],
]

test.each(mutants)('a planted bug is found: %s', (_what, judge, sign, plant) => {
  const undo = plant()
  try {
    let faults: string[] = []
    for (let seed = 0; seed < 60 && !faults.some((fault) => sign.test(fault)); seed++) faults = judged(judge, seed)
    expect(faults.filter((fault) => sign.test(fault))).not.toEqual([])
  } finally {
    undo()
  }
})

test.each([farewell, refusal, hush].map((judge) => [judge.name, judge] as const))(
  'without one nothing is wrong: %s',
  (_name, judge) => {
    for (let seed = 0; seed < 60; seed++) expect(judge(seed), `seed ${seed}`).toEqual([])
  },
)
