import { describe, expect, test } from 'vitest'
import { Message } from '../../src/mqtt/message.ts'
import { TopicTable } from '../../src/mqtt/topic.ts'
import {
  type Durability,
  Entry,
  type Lsn,
  type Recovered,
  type SessionHead,
  type SessionState,
  StaleEpochError,
  type StateSource,
  type Store,
} from '../../src/store/port.ts'
import { placesOf } from './places.ts'

/** A place where a store is kept: it can be opened again after it was closed. */
export interface StoreHome {
  open(): { store: Store; recovered: Recovered }
  /** Lets the outside world go on until `until` holds. */
  readonly settle: (until: () => boolean) => Promise<void>
  /** Waits for a promise, while the outside world goes on. */
  wait<T>(promise: Promise<T>): Promise<T>
  /** Takes the place away. */
  remove(): void
}

/** A broker of which only the state counts. */
class Broker implements StateSource {
  readonly sessions = new Map<number, SessionState>()
  readonly kept = new Map<string, Message>()
  readonly moves: [session: number, seq: number, lsn: Lsn][] = []

  session(number: number): SessionState | undefined {
    return this.sessions.get(number)
  }

  retained(topic: string): Message | undefined {
    return this.kept.get(topic)
  }

  moved(session: number, seq: number, lsn: Lsn): void {
    this.moves.push([session, seq, lsn])
  }
}

const topics = new TopicTable()

function message(payload: string, retain = false): Message {
  const bytes = Buffer.from(payload)
  return new Message(topics.named('a/b'), 1, retain, bytes, 0, bytes.length, undefined, Infinity, { clientId: 'p' }, 5)
}

function head(number: number, clientId: string, epoch = 1): SessionHead {
  return {
    number,
    clientId,
    epoch,
    expirySeconds: Infinity,
    username: undefined,
    will: undefined,
    endDueMs: Infinity,
    willDueMs: Infinity,
    online: false,
  }
}

function state(head: SessionHead, queue?: SessionState['queue']): SessionState {
  return { ...head, subscriptions: new Map(), incoming: () => [], queue }
}

/**
 * What every store promises to the broker.
 * @param keeps what it was told can be read again, in this process and the next
 */
export function describeStore(name: string, home: () => StoreHome, keeps = true): void {
  const withStore = (run: (store: Store, broker: Broker, home: StoreHome) => Promise<void> | void) => async () => {
    const place = home()
    try {
      const { store } = place.open()
      const broker = new Broker()
      store.serve(broker)
      await run(store, broker, place)
      await place.wait(store.close())
    } finally {
      place.remove()
    }
  }
  const publish = (store: Store, number: number, seqs: readonly number[], durability: Durability = 'fsync') =>
    seqs.map((seq) => {
      const copy = message(`message ${seq}`)
      store.recipient(copy, number, seq, 0, seq % 2 ? [seq] : undefined, undefined)
      return store.message(copy, false, 0, 0, durability)
    })

  describe(name, () => {
    test(
      'what is durable has been written, and all of it is in the end',
      withStore(async (store, broker, { settle }) => {
        const session = head(store.number(), 'c')
        broker.sessions.set(session.number, state(session))
        const lsns = [
          store.session(session),
          store.subscribed(session.number, 'a/#', 1),
          ...publish(store, session.number, [0, 1]),
          store.released(session.number, 7),
          store.received(session.number, 0),
          store.unsubscribed(session.number, 'a/#'),
          store.ended(session.number),
        ]
        await settle(() => store.durable > Math.max(...lsns))
        expect(store.written).toBeGreaterThanOrEqual(store.durable)
        expect([...lsns].sort((a, b) => a - b)).toEqual(lsns)
      }),
    )

    test(
      'what is to survive a kill only is written',
      withStore(async (store, broker, { settle }) => {
        const session = head(store.number(), 'c')
        broker.sessions.set(session.number, state(session))
        store.session(session)
        const [lsn] = publish(store, session.number, [0], 'os')
        await settle(() => store.written > lsn!)
      }),
    )

    test(
      'nothing stands in the way of a store with room',
      withStore((store) => {
        expect([store.full, store.behind]).toEqual([false, false])
      }),
    )

    if (!keeps) return

    test(
      'an owner of the past is refused',
      withStore((store) => {
        const number = store.number()
        store.session(head(number, 'c', 5))
        expect(() => store.session(head(number, 'c', 4))).toThrow(StaleEpochError)
        expect(() => store.session(head(store.number(), 'c', 4))).toThrow(StaleEpochError)
        store.session(head(number, 'c', 5))
        store.session(head(store.number(), 'c', 6))
        store.session(head(store.number(), 'd', 1))
      }),
    )

    test(
      'a message stands at `next`, and each recipient reads its own copy',
      withStore(async (store, _broker, { settle }) => {
        const numbers = Array.from({ length: 200 }, () => store.number())
        for (const number of numbers) store.session(head(number, `c${number}`))
        const copy = message('to all')
        const expected = store.next
        for (const number of numbers) store.recipient(copy, number, number * 1000, 0, [number], undefined)
        store.recipient(copy, numbers[0]!, 1_000_000, Entry.shared, undefined, '$share/g/a/b')
        const lsn = store.message(copy, false, 0, 0, 'fsync')
        expect(lsn).toBe(expected)
        await settle(() => store.durable > lsn)
        for (const number of [...numbers].reverse()) {
          const { message, subscriptionIds, shared } = store.readNow(lsn, number, number * 1000)!
          expect([Buffer.from(message.payload()).toString(), subscriptionIds, shared]).toEqual([
            ...['to all', [number], undefined],
          ])
        }
        expect(store.read(lsn, numbers[0]!, 1_000_000)).toMatchObject({ shared: '$share/g/a/b' })
        expect(store.read(lsn, numbers[0]!, 3)).toBeUndefined()
        expect(store.read(lsn, 9999, 3)).toBeUndefined()
        let found: boolean | undefined
        store.fetch(lsn, (is) => (found = is))
        await settle(() => found !== undefined)
        expect(found).toBe(true)
      }),
    )

    test('what it was told is there again, and what was settled is not', async () => {
      const place = home()
      try {
        const { store, recovered } = place.open()
        expect([...recovered.sessions, ...recovered.retained]).toEqual([])
        const broker = new Broker()
        store.serve(broker)
        const number = store.number()
        const session = { ...head(number, 'c', 3), username: 'u', expirySeconds: 77 }
        store.session(session)
        store.subscribed(number, 'a/#', -5)
        store.subscribed(number, 'b', 1)
        store.unsubscribed(number, 'b')
        const lsns = publish(store, number, [0, 1, 2, 3])
        store.message(message('two', true), true, number, 9, 'fsync')
        store.message(message('none', true), false, number, 10, 'fsync')
        store.released(number, 10)
        const kept = message('kept', true)
        store.message(kept, true, 0, 0, 'fsync')
        broker.kept.set('a/b', kept)
        const gone = store.number()
        store.session(head(gone, 'gone'))
        store.ended(gone)
        store.settled(number, 1, 0, lsns[0]!)
        store.settled(number, 1, 2, lsns[2]!)
        const entries = [0, 33, 0, 33]
        broker.sessions.set(number, {
          ...session,
          subscriptions: new Map([['a/#', -5]]),
          incoming: () => [9],
          queue: {
            ...{ head: 1, next: 4, entryOf: (seq) => entries[seq]!, expiryOf: () => 0 },
            lsnOf: (seq) => lsns[seq]!,
          },
        })
        await place.wait(store.close())

        const again = place.open()
        const [back, ...others] = again.recovered.sessions
        expect(others).toEqual([])
        expect(back).toMatchObject({ number, clientId: 'c', epoch: 3, username: 'u', expirySeconds: 77, incoming: [9] })
        expect(new Map(back!.subscriptions)).toEqual(new Map([['a/#', -5]]))
        const places = placesOf(back!.queue)
        expect(places.map(({ seq }) => seq)).toEqual([1, 2, 3])
        expect(places.map(({ entry }) => entry & Entry.stateBits)).toEqual([Entry.waiting, Entry.gone, Entry.waiting])
        expect(again.store.readNow(places[2]!.lsn, number, 3)!.subscriptionIds).toEqual([3])
        expect(again.recovered.retained.map((message) => Buffer.from(message.payload()).toString())).toEqual(['kept'])
        expect(again.recovered.retained[0]!.publisher).toMatchObject({ clientId: 'p' })
        expect(again.store.number()).toBeGreaterThan(gone)
        again.store.serve(broker)
        await place.wait(again.store.close())
      } finally {
        place.remove()
      }
    })
  })
}
