import { arrivingPrefix, inPrefix, outPrefix } from '../../../src/cluster/own-names.ts'
import type { Outgoing } from '../../../src/cluster/outgoing.ts'
import type { NodeId } from '../../../src/cluster/peers.ts'
import type { Message } from '../../../src/mqtt/message.ts'
import { isNewer, type Stamp } from '../../../src/mqtt/stamp.ts'
import type { RetainedStore } from '../../../src/retain/retained.ts'
import { StreamTerms } from '../../../src/cluster/streams.ts'
import { Entry, type QueueView, type Recovered, type RecoveredSession, type Store } from '../../../src/store/port.ts'
import { idOf } from '../publication.ts'
import type { Chronicle, Life, Sent } from './chronicle.ts'

/** A copy of a message in a queue, and the groups that it was for. */
interface Copy {
  readonly sent: Sent
  readonly groups: readonly string[]
}

/** For whom a copy was. */
interface Lost {
  readonly node: NodeId | undefined
  readonly clientId: string | undefined
  readonly groups: readonly string[]
}

const stragglerPrefix = '\0moved/'

/**
 * What was lost with a disk, and what was given up with an evicted node, copy by copy, as it stood in the queues: what the
 * checker may miss, and nothing else.
 */
export class Losses {
  /** Wills of sessions that were lost. */
  readonly wills = new Set<Sent>()
  /** What was retained on one node only. */
  readonly retained = new Set<Sent>()
  /** What evicted nodes brought back: what waited with them for others, and what was retained there. */
  readonly broughtBack = new Set<Sent>()
  readonly #copies = new Map<Sent, Lost[]>()
  /** When who has forgotten what another node wants, as it was given up. */
  readonly #forgotten: { readonly by: NodeId; readonly node: NodeId; readonly seq: number }[] = []
  readonly #chronicle: Chronicle

  constructor(chronicle: Chronicle) {
    this.#chronicle = chronicle
  }

  /** What waits at a node for another one is given up. Gives how many copies that are. */
  givesUp(outgoing: Outgoing | undefined, store: Store): number {
    let count = 0
    for (const { outbox, number } of outgoing?.streams ?? [])
      for (let seq = outbox.head; seq < outbox.next; seq++) {
        if (isGone(outbox, seq)) continue
        count++
        const held = outbox.heldAt(seq)
        const copy = held
          ? this.#copy(held.message.payload(), held.terms as StreamTerms)
          : this.#stored(outbox, number, seq, store)
        if (copy) this.#lose(copy, outgoing!.node, undefined)
      }
    return count
  }

  /** A disk is lost, with all that is on it. Gives the ids of the clients whose sessions were there. */
  disk({ sessions }: Recovered, store: Store): Set<string> {
    const clients = new Set<string>()
    for (const session of sessions) {
      const { clientId, will } = session
      // Half of a session that was on its way: its owner has all of it. What has come says no more than its number.
      if (clientId.startsWith(arrivingPrefix) || clientId.startsWith(inPrefix)) continue
      const node = clientId.startsWith(outPrefix)
        ? clientId.slice(outPrefix.length, clientId.lastIndexOf('/'))
        : undefined
      const client = clientId.startsWith(stragglerPrefix) ? clientId.slice(stragglerPrefix.length) : clientId
      for (const copy of this.#copiesOf(session, store)) this.#lose(copy, node, client)
      if (clientId.startsWith('\0')) continue
      clients.add(clientId)
      const sent = will && this.#chronicle.find(idOf(will.payload))
      if (sent) this.wills.add(sent)
    }
    return clients
  }

  /** What a lost disk had retained, or had removed, is lost where nobody else knows of it. */
  onlyRetained(
    node: NodeId,
    message: Message,
    others: readonly Pick<RetainedStore<Message>, 'get' | 'stampOf'>[],
  ): void {
    const { name } = message.topic
    const isKnown = (stamp: Stamp | undefined) => stamp !== undefined && !isNewer(message.stamp!, stamp)
    if (others.some((retained) => isKnown(retained.stampOf(name)))) return
    // What it had replaced there is nowhere either, if it came behind what the others have.
    const last = this.#seqOf(message)
    const known = Math.max(-1, ...others.map((retained) => this.#seqOf(retained.get(name))))
    for (const sent of this.#chronicle.sent) {
      const { retain, topic, nodes, sentSeq } = sent
      if (retain && topic === name && sentSeq > known && (nodes.has(node) || sentSeq <= last)) this.retained.add(sent)
    }
  }

  /** When what is retained was sent; -1: nothing is, or nobody knows. */
  #seqOf(message: Message | undefined): number {
    return (message && this.#chronicle.find(idOf(message.payload()))?.sentSeq) ?? -1
  }

  /** An evicted node comes back with the disk that it had. */
  return({ sessions, retained }: Recovered, store: Store): void {
    for (const session of sessions)
      if (session.clientId.startsWith(outPrefix))
        for (const { sent } of this.#copiesOf(session, store)) this.broughtBack.add(sent)
    for (const message of retained) {
      const sent = this.#chronicle.find(idOf(message.payload()))
      if (sent) this.broughtBack.add(sent)
    }
  }

  forgets(by: NodeId, node: NodeId, seq: number): void {
    this.#forgotten.push({ by, node, seq })
  }

  /** Was a copy lost that would have come to this session, or was none made, as its node was given up while the message came? */
  had(sent: Sent, { roamer, homes }: Life): boolean {
    const { id } = roamer.options
    const { nodes, sentSeq, ackedSeq } = sent
    const isBetween = ({ by, node, seq }: { by: NodeId; node: NodeId; seq: number }) =>
      nodes.has(by) && homes.has(node) && sentSeq <= seq && seq <= ackedSeq
    if (this.#forgotten.some(isBetween)) return true
    return (
      this.#copies
        .get(sent)
        ?.some(({ node, clientId }) => clientId === id || (node !== undefined && homes.has(node))) === true
    )
  }

  /** Was a copy lost that was for this group? */
  hadOf(sent: Sent, group: string): boolean {
    return (
      this.#copies.get(sent)?.some(({ groups }) => groups.some((name) => name.startsWith(`$share/${group}/`))) === true
    )
  }

  #lose({ sent, groups }: Copy, node: NodeId | undefined, clientId: string | undefined): void {
    const lost = { node, clientId, groups }
    const known = this.#copies.get(sent)
    if (known) known.push(lost)
    else this.#copies.set(sent, [lost])
  }

  *#copiesOf({ queue, number }: RecoveredSession, store: Store): Iterable<Copy> {
    for (let seq = queue.head; seq < queue.next; seq++) {
      const copy = isGone(queue, seq) ? undefined : this.#stored(queue, number, seq, store)
      if (copy) yield copy
    }
  }

  #stored(queue: QueueView, number: number, seq: number, store: Store): Copy | undefined {
    const found = store.readNow(queue.lsnOf(seq), number, seq)
    return found && this.#copy(found.message.payload(), StreamTerms.of(found.subscriptionIds, found.shared))
  }

  /** Undefined for an empty payload, which only removes what is retained. */
  #copy(payload: Uint8Array, { groups }: StreamTerms): Copy | undefined {
    const sent = this.#chronicle.find(idOf(payload))
    return sent && { sent, groups }
  }
}

function isGone(queue: QueueView, seq: number): boolean {
  return (queue.entryOf(seq) & Entry.stateBits) === Entry.gone
}
