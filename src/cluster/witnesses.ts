import type { Message } from '../mqtt/message.ts'
import { Session } from '../sessions/session.ts'
import type { Store } from '../store/port.ts'
import type { Seen } from './given.ts'
import type { NodeId } from './peers.ts'

/** Messages of a node, by their numbers: behind the first, up to the last. */
export type Span = readonly [after: number, upTo: number]

/** What a session had got where it was. */
export interface Had {
  readonly spans: ReadonlyMap<NodeId, Span>
  /** Beside these, what was remembered there one by one. */
  readonly seen: readonly Seen[]
}

/** Messages of a session that are remembered at most; then the oldest are forgotten. */
const mostSerials = 65_536

/** What came to one session, as its origins have numbered it. */
class Witness {
  /** Of nodes that could not be asked when the session came here: up to where it had got everything before. */
  readonly floors: Map<NodeId, number>
  /** Of these nodes, those that were asked to say when all of that has come. */
  readonly asked = new Set<NodeId>()
  readonly #seen = new Map<NodeId, Set<number>>()
  #size = 0

  readonly #spans: ReadonlyMap<NodeId, Span>

  constructor(floors: ReadonlyMap<NodeId, number>, { spans, seen }: Had) {
    this.floors = new Map(floors)
    this.#spans = spans
    for (const [node, serials] of seen) for (const serial of serials) this.add(node, serial)
  }

  seen(): Seen[] {
    return Array.from(this.#seen, ([node, serials]) => [node, [...serials]])
  }

  /** Did it come to the session before that was here? */
  had(origin: NodeId, serial: number): boolean {
    if (serial <= (this.floors.get(origin) ?? 0)) return true
    const span = this.#spans.get(origin)
    return span !== undefined && serial > span[0] && serial <= span[1]
  }

  /** False: it has come before. */
  add(origin: NodeId, serial: number): boolean {
    let serials = this.#seen.get(origin)
    if (serials === undefined) this.#seen.set(origin, (serials = new Set()))
    if (serials.has(serial)) return false
    serials.add(serial)
    if (++this.#size > mostSerials) this.#forget()
    return true
  }

  /** The oldest of those of whom most is remembered. */
  #forget(): void {
    const [most] = [...this.#seen.values()].sort((a, b) => b.size - a.size)
    for (const serial of most!) {
      most!.delete(serial)
      this.#size--
      return
    }
  }
}

/**
 * Sessions that have, or may have, an older one of the same client on another node, from which the same messages may come again:
 * what comes twice, straight and from there, is delivered once. In memory: of what came before a crash, it knows what waits.
 */
export class Witnesses {
  readonly #witnesses = new Map<Session, Witness>()
  readonly #self: NodeId
  readonly #store: Store

  constructor(self: NodeId, store: Store) {
    this.#self = self
    this.#store = store
  }

  *sessions(): IterableIterator<Session> {
    yield* this.#witnesses.keys()
  }

  /**
   * From now on everything that comes to the session is remembered, beside what waits in it.
   * @param floors messages of these nodes that it had elsewhere, by the last one, and that may come again
   * @param had the same, where nothing is known of earlier ones
   */
  begin(session: Session, floors: ReadonlyMap<NodeId, number> = nothing, had: Had = hadNothing): void {
    if (this.#witnesses.has(session)) return
    this.#witnesses.set(session, new Witness(floors, had))
    this.#look(session)
    // Only these few: no other delivery has to ask. A group's copy is nobody else's, and a retained message may come again.
    session.deliver = (message, delivery, retain) => {
      if (delivery.group === undefined && (this.had(session, message) || !this.isNew(session, message))) return false
      return Session.prototype.deliver.call(session, message, delivery, retain)
    }
  }

  /** Has the session had this message by its own subscriptions, before it came here? */
  had(session: Session, { qos, serial, origin }: Message): boolean {
    if (qos === 0 || serial === 0) return false
    return this.#witnesses.get(session)?.had(origin ?? this.#self, serial) ?? false
  }

  /** Has the session not had this message? It has from now on. */
  isNew(session: Session, { qos, serial, origin }: Message): boolean {
    if (qos === 0 || serial === 0) return true
    return this.#witnesses.get(session)?.add(origin ?? this.#self, serial) ?? true
  }

  /** What has come to the session, as it is remembered: for the node that it goes to, to which the same may come. */
  seen(session: Session): readonly Seen[] {
    return this.#witnesses.get(session)?.seen() ?? hadNothing.seen
  }

  /** Up to where the session had got everything of a node, when it came here and that one could not be asked. */
  floors(session: Session): ReadonlyMap<NodeId, number> {
    return this.#witnesses.get(session)?.floors ?? nothing
  }

  /** @param ask calls back when all that the node had sent to us has come, with false when that cannot be said */
  lower(session: Session, live: ReadonlySet<NodeId>, ask: (node: NodeId, then: (all: boolean) => void) => void): void {
    const { floors, asked } = this.#witnesses.get(session)!
    for (const node of floors.keys()) {
      if (!live.has(node) || asked.has(node)) continue
      asked.add(node)
      ask(node, (all) => {
        asked.delete(node)
        if (all) floors.delete(node)
      })
    }
  }

  #look(session: Session): void {
    const { number, outbox } = session
    if (outbox === undefined) return
    for (let seq = outbox.head; seq < outbox.next; seq++) {
      const lsn = outbox.lsnOf(seq)
      const known = lsn === 0 ? outbox.heldAt(seq) : this.#store.readNow(lsn, number, seq)
      if (known) this.isNew(session, known.message)
    }
  }

  end(session: Session): void {
    if (this.#witnesses.delete(session)) Reflect.deleteProperty(session, 'deliver')
  }
}

const hadNothing: Had = { spans: new Map<NodeId, Span>(), seen: [] }
const nothing: ReadonlyMap<NodeId, number> = new Map<NodeId, number>()
