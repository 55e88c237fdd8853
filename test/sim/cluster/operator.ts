import { clusterControl } from '../../../src/admin/cluster-control.ts'
import { type ClusterControl, Refusal } from '../../../src/admin/control.ts'
import { Forwarding } from '../../../src/cluster/forwarding.ts'
import type { NodeId } from '../../../src/cluster/peers.ts'
import type { Town } from './town.ts'

/** Evicts nodes by what `docs/cluster.md` says, through the admin's port, and holds each process to what it says of it. */
export class Operator {
  /** Nodes whose machines are gone with their disks, and have not come back. */
  readonly lost = new Set<NodeId>()
  /** Nodes that were evicted while their process ran, and have heard of it. */
  readonly evicted = new Set<NodeId>()
  /** Nodes that were evicted since their last start, and by whom, as long as those know it. */
  readonly #givenUp = new Map<NodeId, Set<NodeId>>()
  readonly #controls = new Map<NodeId, ClusterControl>()
  /** Copies that each process has given up. */
  readonly #evictions = new Map<ClusterControl, number>()
  readonly #town: Town

  constructor(town: Town) {
    this.#town = town
    for (const node of town.nodes) this.watch(node)
  }

  /** A machine falls, and its disk is lost. Not the last one. */
  lose(node: NodeId): void {
    const town = this.#town
    if (this.lost.has(node) || town.present.length === 1) return
    town.fall(node, 'kill', false)
    town.tell(`the disk of ${node} is lost`)
    town.inspect(node, (found, store) => {
      const clients = town.losses.disk(found, store)
      const others = this.#living.map((other) => town.machine(other).broker)
      for (const message of found.retained)
        town.losses.onlyRetained(
          node,
          message,
          others.map(({ retained }) => retained),
        )
      for (const roamer of town.roamers) {
        const { id } = roamer.options
        if (clients.has(id) && !others.some(({ sessions }) => sessions.get(id))) roamer.bereft()
      }
    })
    town.machine(node).replaceDisk()
    this.lost.add(node)
  }

  /** Goes from node to node, and evicts one wherever that is not refused. */
  evict(node: NodeId): void {
    const town = this.#town
    for (const other of this.#living) {
      if (other === node) continue
      const control = this.#controls.get(other)!
      const before = this.#evictions.get(control)!
      try {
        const { messages } = control.evict(node)
        const given = this.#evictions.get(control)! - before
        town.tell(`${other} gives ${node} up, and ${messages} messages`)
        if (messages !== given) town.blame('given up', `${other} says ${messages} of ${given} messages for ${node}`)
      } catch (fault) {
        if (!(fault instanceof Refusal)) throw fault
      }
    }
  }

  mayRise(node: NodeId): boolean {
    return !this.lost.has(node) || this.isForgotten(node)
  }

  /** A node is about to start: if it was evicted, it comes back as a new one, perhaps with the folder that it had. */
  rises(node: NodeId): void {
    const { losses } = this.#town
    if (this.#givenUp.has(node) && !this.lost.has(node))
      this.#town.inspect(node, (found, store) => losses.return(found, store))
    this.lost.delete(node)
    this.evicted.delete(node)
    this.#givenUp.delete(node)
    for (const by of this.#givenUp.values()) by.delete(node)
  }

  /** Has everybody who is there given the node up? */
  isForgotten(node: NodeId): boolean {
    const living = this.#living.filter((other) => other !== node)
    const knows = (other: NodeId) =>
      this.#town
        .machine(other)
        .cluster.status()
        .some((status) => status.node === node)
    return living.length > 0 && !living.some(knows)
  }

  /** A node has heard that it was evicted. Was it? */
  told(node: NodeId): boolean {
    if (!this.#givenUp.has(node)) return false
    this.evicted.add(node)
    return true
  }

  /** Nodes that were told start anew; of two that have given each other up, and never meet again, one does. */
  reconcile(): void {
    const town = this.#town
    for (const node of [...this.evicted]) town.restart(node)
    for (const [node, by] of [...this.#givenUp])
      if (town.machine(node).isUp && [...by].some((other) => this.#givenUp.get(other)?.has(node))) town.restart(node)
  }

  /** Sees what a process gives up, copy by copy, and that it counts all of it. */
  watch(node: NodeId): void {
    const { losses, roamers } = this.#town
    const { cluster, broker, store } = this.#town.machine(node)
    const { forwarding } = cluster
    const control = clusterControl({ cluster, clusterId: 'city', sessions: broker.sessions, left: () => {} })
    this.#controls.set(node, control)
    this.#evictions.set(control, 0)
    forwarding.evict = (other) => {
      // What is left for one that has gone by itself is nobody's to give up: it must not be lost.
      const isEvicted = cluster.members.state(other) !== 'left'
      const held = isEvicted ? losses.givesUp(forwarding.known(other), store) : 0
      if (isEvicted) {
        this.#givenUp.set(other, (this.#givenUp.get(other) ?? new Set()).add(node))
        losses.forgets(node, other, this.#town.time.seq)
        for (const roamer of roamers) roamer.forgets(node, other)
      }
      const given = Forwarding.prototype.evict.call(forwarding, other)
      const evictions = this.#evictions.get(control)! + (isEvicted ? held : given.messages)
      this.#evictions.set(control, evictions)
      const { evicted } = control.status()
      if (evicted !== evictions)
        this.#town.blame('given up', `${node} has counted ${evicted} of ${evictions} messages, the last for ${other}`)
      return given
    }
  }

  get #living(): readonly NodeId[] {
    return this.#town.nodes.filter((node) => this.#town.machine(node).isUp)
  }
}
