import { expect, test } from 'vitest'
import { check, type Finding } from './checker.ts'
import { History, type Publication, type Qos, type Subscriber, type Subscription } from './history.ts'

// The checker itself: a history in which every promise was kept, and what is planted in it.

const filter = 'prove/a/#'

/** Six messages to one subscriber, one of them unacknowledged; a retained topic; a will; a probe. */
class Story extends History {
  readonly subscription: Subscription
  readonly subscriber: Subscriber
  readonly messages: Publication[]
  readonly kept: readonly Publication[]
  readonly will: Publication
  readonly probe: Publication

  constructor(qos: Qos = 2) {
    super()
    this.subscription = this.granted(filter, qos)
    this.subscriber = { id: 'subscriber', subscriptions: [this.subscription], received: [] }
    this.subscribers.push(this.subscriber)
    this.messages = ([1, 2, 1, 2, 1, 2] as const).map((each) => this.acked('prove/a/0', { qos: each }))
    this.messages[5]!.ackedAt = Infinity
    this.kept = [this.acked('kept/0', { retain: true }), this.acked('kept/0', { retain: true })]
    this.will = this.acked('prove/a/will', { kind: 'will' })
    this.probe = this.acked('prove/a/0', { kind: 'probe' })
    this.bring(...this.messages, this.will, this.probe)
    this.read('kept/0', this.kept[1]!.number)
  }

  acked(topic: string, fields: Partial<Pick<Publication, 'qos' | 'retain' | 'bytes' | 'kind'>> = {}): Publication {
    const publication = this.publication({ publisher: 'publisher', topic, qos: 1, bytes: 20, ...fields })
    publication.sentAt = this.now()
    publication.ackedAt = this.now()
    return publication
  }

  granted(filter: string, qos: Qos): Subscription {
    const askedAt = this.now()
    return { filter, qos, askedAt, grantedAt: this.now(), leavingAt: Infinity, leftAt: Infinity }
  }

  bring(...publications: readonly Publication[]): void {
    this.subscriber.received.push(...publications.map(({ number }) => number))
  }

  /** Takes every copy of it away. */
  lose(publication: Publication): void {
    const { received } = this.subscriber
    for (let at = received.length - 1; at >= 0; at--) if (received[at] === publication.number) received.splice(at, 1)
  }

  leave(): void {
    this.subscription.leavingAt = this.now()
    this.subscription.leftAt = this.now()
  }

  read(topic: string, number: number | undefined): void {
    this.readings.push({ topic, number, askedAt: this.now(), heardAt: this.now() })
  }
}

const planted: readonly [name: string, expected: readonly Finding['kind'][], plant: (story: Story) => void][] = [
  ['nothing', [], () => {}],
  ['a lost message of QoS 1', ['lost'], (story) => story.lose(story.messages[0]!)],
  ['a lost message of QoS 2', ['lost'], (story) => story.lose(story.messages[3]!)],
  ['one that was never acknowledged', [], (story) => story.lose(story.messages[5]!)],
  ['one acknowledged after UNSUBSCRIBE', [], (story) => (story.leave(), story.acked('prove/a/0'))],
  ['a duplicate of QoS 1', [], (story) => story.bring(story.messages[0]!)],
  ['a duplicate of QoS 2', ['delivered twice'], (story) => story.bring(story.messages[1]!)],
  [
    'two of QoS 1 in the wrong order',
    ['out of order'],
    (story) => {
      const { received } = story.subscriber
      ;[received[0], received[2]] = [received[2]!, received[0]!]
    },
  ],
  [
    'QoS 1 behind QoS 2',
    [],
    (story) => {
      const { received } = story.subscriber
      ;[received[0], received[1]] = [received[1]!, received[0]!]
    },
  ],
  [
    'QoS 1 that was first sent before somebody subscribed, and came of a repetition',
    [],
    (story) => {
      const early = story.acked('prove/b/0')
      early.ackedAt = Infinity
      story.subscriber.subscriptions.push(story.granted('prove/b/0', 1))
      story.bring(story.acked('prove/b/0'), early)
    },
  ],
  ['a vanished session', ['session vanished'], (story) => story.incident('session vanished', 'of subscriber')],
  ['a vanished subscription', ['subscription vanished'], (story) => story.lose(story.probe)],
  [
    'a subscription that came back',
    ['subscription came back'],
    (story) => (story.leave(), story.bring(story.acked('prove/a/0'))),
  ],
  [
    'a message on its way while UNSUBACK was',
    [],
    (story) => {
      story.subscription.leavingAt = story.now()
      story.bring(story.acked('prove/a/0'))
      story.subscription.leftAt = story.now()
    },
  ],
  ['an old retained message', ['retained went back'], (story) => story.read('kept/0', story.kept[0]!.number)],
  ['no retained message', ['retained went back'], (story) => story.read('kept/0', undefined)],
  [
    'a retained message that was cleared',
    ['retained went back'],
    (story) => (story.acked('kept/0', { retain: true, bytes: 0 }), story.read('kept/0', story.kept[1]!.number)),
  ],
  [
    'none after it was cleared',
    [],
    (story) => (story.acked('kept/0', { retain: true, bytes: 0 }), story.read('kept/0', undefined)),
  ],
  ['a retained message while the next is on its way', [], (story) => newerOnItsWay(story)],
  ['a forgotten QoS 2 id', ['QoS 2 id forgotten'], (story) => story.incident('QoS 2 id forgotten', '1 of publisher')],
  ['a lost will', ['will lost'], (story) => story.lose(story.will)],
  [
    'a will that waited for its delay while somebody subscribed',
    [],
    (story) => {
      const will = story.acked('prove/b/will', { kind: 'will' })
      story.subscriber.subscriptions.push(story.granted('prove/b/will', 1))
      story.bring(will)
    },
  ],
  ['a will that had been stopped', ['will came after all'], (story) => void (story.will.withdrawn = true)],
]

function newerOnItsWay(story: Story): void {
  const newer = story.acked('kept/0', { retain: true })
  newer.ackedAt = Infinity
  story.read('kept/0', story.kept[1]!.number)
  story.read('kept/0', newer.number)
}

for (const [name, expected, plant] of planted)
  test(`${name}: ${expected.join() || 'fine'}`, () => {
    const story = new Story()
    plant(story)
    expect(check(story).findings.map(({ kind }) => kind)).toEqual(expected)
  })

test('counts by the lower QoS of publication and subscription', () => {
  const story = new Story(1)
  story.bring(story.messages[1]!, story.messages[1]!)
  expect(check(story)).toMatchObject({
    findings: [],
    acknowledged: { 1: 6, 2: 2 },
    delivered: { 1: 8, 2: 0 },
    duplicates: { 1: 2, 2: 0 },
    wills: 1,
  })
})
