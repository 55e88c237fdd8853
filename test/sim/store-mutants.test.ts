import { expect, test } from 'vitest'
import { Session } from '../../src/sessions/session.ts'
import { DiskStore } from '../../src/store/disk-store.ts'
import { CommitLog } from '../../src/store/log.ts'
import { RecipientWriter } from '../../src/store/message-record.ts'
import { Entry } from '../../src/store/port.ts'
import { RecoveredQueue } from '../../src/store/recovered-queue.ts'
import { Restore } from '../../src/store/restore.ts'
import { Tracks } from '../../src/store/tracks.ts'
import { SimDisk } from './disk.ts'
import type { StoreHabits } from './machine.ts'
import { patch } from './patch.ts'
import { runSeed } from './seeds.ts'

// Bugs that we plant in the store, to see that the simulation finds them when brokers fall: each changes one method of
// the store while it runs, or one of its habits.

const mostSeeds = 1000

/** True once in `times` calls. */
function onceIn(times: number): () => boolean {
  let calls = 0
  return () => ++calls % times === 0
}

interface Mutant {
  readonly what: string
  /** The rule that it breaks, for the right reason. */
  readonly rule: RegExp
  readonly plant?: () => () => void
  readonly habits?: StoreHabits
}

const mutants: readonly Mutant[] = [
  {
    what: 'an acknowledgement leaves once its record is written, before the sync',
    rule: /lost|not subscribed|stale/,
    plant: () => lieAbout('durable', (store) => store.written),
  },
  {
    what: 'a checksum is not checked',
    rule: /payload|error log|RangeError|codec|from nobody/,
    habits: { checksum: () => 7 },
  },
  {
    what: 'half a publish: the retained message follows in a record of its own, a little later',
    rule: /retained message lost|stale/,
    plant: () =>
      patch(
        DiskStore.prototype,
        'message',
        (message) =>
          function (this: DiskStore, it, retains, publisher, packetId, durability) {
            if (retains && it.retain) later(this, () => message.call(this, it, true, 0, 0, durability))
            return message.call(this, it, false, publisher, packetId, durability)
          },
      ),
  },
  {
    what: 'half a publish: the QoS 2 packet id follows in a record of its own, a little later',
    rule: /exactly once/,
    plant: () =>
      patch(
        DiskStore.prototype,
        'message',
        (message) =>
          function (this: DiskStore, it, retains, publisher, packetId, durability) {
            if (packetId !== 0) later(this, () => message.call(this, it, false, publisher, packetId, durability))
            return message.call(this, it, retains, 0, 0, durability)
          },
      ),
  },
  {
    what: 'a queue that was empty begins anew, and the log does not say that it uses numbers again',
    rule: /lost|error log|exactly once|packet id in use|unknown ack/,
    plant: () => {
      const restored = patch(
        Session.prototype,
        'restore',
        (restore) =>
          function (this: Session, recovered, sent) {
            const { queue } = recovered
            const anew = {
              head: 0,
              next: 0,
              lsnOf: () => 0,
              entryOf: () => Entry.gone,
              expiryOf: () => 0,
              release: () => undefined,
              moved: () => undefined,
            }
            restore.call(this, queue.head === queue.next ? { ...recovered, queue: anew } : recovered, sent)
          },
      )
      // A number that is behind the end of its queue is written whole, and would be put in its place.
      const written = patch(
        RecipientWriter.prototype,
        'write',
        (write) =>
          function (this: RecipientWriter, writer, session, seq, flags, _wide, ids, filter) {
            write.call(this, writer, session, seq, flags, false, ids, filter)
          },
      )
      return () => {
        written()
        restored()
      }
    },
  },
  {
    what: 'numbers of sessions are used again',
    rule: /ack before durable|lost|not subscribed/,
    plant: () => {
      const last = new WeakMap<DiskStore, number>()
      return patch(
        DiskStore.prototype,
        'number',
        () =>
          function (this: DiskStore) {
            const number = (last.get(this) ?? 0) + 1
            last.set(this, number)
            return number
          },
      )
    },
  },
  {
    what: 'an UNSUBSCRIBE is not recorded',
    rule: /not subscribed/,
    plant: () => patch(DiskStore.prototype, 'unsubscribed', () => () => 0),
  },
  {
    what: 'the end of a session is not recorded',
    rule: /session kept|MQTT-3.14.4-3|MQTT-3.2.2-2/,
    plant: () =>
      patch(
        DiskStore.prototype,
        'ended',
        () =>
          function (this: DiskStore, session) {
            const track = this.tracks.byNumber.get(session)
            if (track) this.tracks.end(track)
            return 0
          },
      ),
  },
  {
    what: 'what was settled is not recorded',
    rule: /settled/,
    plant: () =>
      patch(
        DiskStore.prototype,
        'settled',
        () =>
          function (this: DiskStore, _session, _head, _seq, lsn) {
            if (lsn !== 0) this.log.free(lsn)
          },
      ),
  },
  {
    what: 'a PUBREL of a publisher is not recorded',
    rule: /not recorded|QoS 2 lost/,
    plant: () => patch(DiskStore.prototype, 'released', () => () => 0),
  },
  {
    what: 'a PUBREC of a subscriber is not recorded',
    rule: /exactly once/,
    plant: () => patch(DiskStore.prototype, 'received', () => () => 0),
  },
  {
    what: 'options of a subscription are not kept',
    rule: /MQTT-3|not subscribed/,
    plant: () =>
      patch(
        DiskStore.prototype,
        'subscribed',
        (subscribed) =>
          function (this: DiskStore, session, filter, grant) {
            return subscribed.call(this, session, filter, grant & 3)
          },
      ),
  },
  {
    what: 'the index is ahead of the log',
    rule: /the log ends before/,
    plant: () =>
      patch(
        DiskStore.prototype,
        'mark',
        (mark) =>
          function (this: DiskStore) {
            mark.call(this)
            return 1
          },
      ),
  },
  {
    what: 'a checkpoint forgets every fourth session that has changed',
    rule: /lost|not subscribed|kept|error log/,
    plant: () => {
      const forget = onceIn(4)
      return patch(
        Tracks.prototype,
        'soil',
        (soil) =>
          function (this: Tracks, track) {
            if (!track.dirty && forget()) track.dirty = true
            else soil.call(this, track)
          },
      )
    },
  },
  {
    what: 'segments are dropped although they are held',
    rule: /lost|error log|leak/,
    plant: () => patch(CommitLog.prototype, 'hold', () => () => {}),
  },
  {
    what: 'a replay applies records that the index has already',
    rule: /lost|exactly once|twice|settled|error log/,
    plant: () => {
      const undo = [
        patch(
          Restore.prototype,
          'load',
          (load) =>
            function (this: Restore, entries) {
              load.call(this, entries)
              for (const { queue } of this.sessions.values()) queue.lsn = 0
            },
        ),
        patch(
          RecoveredQueue.prototype,
          'numberOf',
          () =>
            function (this: RecoveredQueue) {
              return this.next
            },
        ),
      ]
      return () => {
        for (const one of undo) one()
      }
    },
  },
  {
    what: 'the name of a new segment is not synced',
    rule: /lost|not subscribed|stale/,
    plant: () => patch(SimDisk.prototype, 'syncFolder', () => (_folder, done) => done(undefined)),
  },
  {
    what: 'nobody is told where a copy has moved',
    rule: /lost|leak|error log/,
    plant: () => patch(Session.prototype, 'moved', () => () => {}),
  },
]

test.each(mutants)('found: $what', ({ rule, plant, habits }) => {
  const undo = plant?.()
  const blamed: string[] = []
  try {
    for (let seed = 0; seed < mostSeeds && !rule.test(blamed.at(-1) ?? ''); seed++)
      try {
        runSeed(seed, undefined, habits)
      } catch (fault) {
        blamed.push(`seed ${seed}: ${String(fault)}`)
      }
  } finally {
    undo?.()
  }
  if (process.env.SIM_SHOW !== undefined) process.stdout.write(`${blamed.join('\n')}\n`)
  expect(blamed.at(-1) ?? `nothing in ${mostSeeds} seeds`).toMatch(rule)
})

/** Runs something a little later, unless the process is over by then. */
function later(store: DiskStore, run: () => void): void {
  const callOff = store.clock.every(20, () => {
    callOff()
    run()
  })
}

/** Replaces a property that is worked out. */
function lieAbout<K extends keyof DiskStore>(name: K, lie: (store: DiskStore) => DiskStore[K]): () => void {
  const original = Object.getOwnPropertyDescriptor(DiskStore.prototype, name)!
  Object.defineProperty(DiskStore.prototype, name, {
    ...original,
    get(this: DiskStore) {
      return lie(this)
    },
  })
  return () => void Object.defineProperty(DiskStore.prototype, name, original)
}
