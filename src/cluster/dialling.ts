import type { Clock, Log, Net, Random, Stream, StreamEvents } from '../host.ts'
import type { NodeId } from './peers.ts'

/** Somebody whom we want a link to. */
export interface Target {
  /** Undefined: a seed, whose name is not known yet. */
  node: NodeId | undefined
  address: string
  /** `resting`: there is a link, or one is about to be. */
  state: 'waiting' | 'dialling' | 'resting'
  dueMs: number
  delayMs: number
  /** It has been said that it cannot be reached. */
  told: boolean
}

export interface DialSettings {
  /** First and longest wait between two attempts. Half of it is left to chance. */
  readonly leastMs: number
  readonly mostMs: number
  /** After a peer has refused us: something has to change first. */
  readonly refusedMs: number
}

export interface Dialled {
  /** Takes a stream to `node`, who may be somebody else than was wanted. */
  opened(target: Target, stream: Stream, node: NodeId): StreamEvents
  /** Nobody listens there: the process is gone. */
  refused(node: NodeId): void
}

/** Dials whom we want a link to, again and again, until there is one. */
export class Dialling {
  readonly #targets = new Map<NodeId, Target>()
  /** By address. */
  readonly #seeds = new Map<string, Target>()
  readonly #settings: DialSettings
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  readonly #net: Net
  readonly #dialled: Dialled

  constructor(
    settings: DialSettings,
    { clock, random, log }: { readonly clock: Clock; readonly random: Random; readonly log: Log },
    net: Net,
    dialled: Dialled,
  ) {
    this.#settings = settings
    this.#clock = clock
    this.#random = random
    this.#log = log
    this.#net = net
    this.#dialled = dialled
  }

  /** @param afterMs wait so long before the first attempt @param linked there is a link already */
  reach(node: NodeId, address: string, afterMs: number, linked: boolean): void {
    const known = this.#targets.get(node)
    if (known === undefined) {
      const target = this.#target(node, address, afterMs)
      this.#targets.set(node, target)
      if (linked) target.state = 'resting'
      else if (afterMs === 0) this.#dial(target)
    } else if (known.address !== address) {
      known.address = address
      known.told = false
      known.delayMs = 0
      known.dueMs = this.#clock.now()
    }
  }

  join(address: string): void {
    if (this.#seeds.has(address)) return
    const seed = this.#target(undefined, address, 0)
    this.#seeds.set(address, seed)
    this.#dial(seed)
  }

  forget(node: NodeId): void {
    this.#targets.delete(node)
  }

  /** A seed that nobody has to dial again. */
  drop(target: Target): void {
    if (this.#seeds.get(target.address) === target) this.#seeds.delete(target.address)
  }

  /** A seed has turned out to be `node`, and is dialled under that name from now on. */
  named(target: Target, node: NodeId, address: string): void {
    if (target.node !== undefined) return
    this.drop(target)
    if (this.#targets.has(node)) return
    const named = this.#target(node, address, 0)
    named.state = 'resting'
    this.#targets.set(node, named)
  }

  /** There is a link to `node`. */
  linked(node: NodeId): void {
    const target = this.#targets.get(node)
    if (target === undefined) return
    target.state = 'resting'
    target.told = false
    target.delayMs = 0
  }

  /** The link is gone, or the one that should have become one. */
  unlinked(target: Target, refused: boolean): void {
    if (target.state === 'waiting') return
    target.state = 'waiting'
    if (refused) this.#wait(target, this.#settings.refusedMs)
    else this.#later(target)
  }

  /** Another node answers at its address: it may come back there, or be heard of elsewhere. */
  elsewhere(target: Target, found: NodeId): void {
    const { node, address, told } = target
    this.#log[told ? 'debug' : 'warn']({ address, wanted: node, found }, 'another node answers there')
    target.told = true
    target.state = 'waiting'
    this.#wait(target, this.#settings.refusedMs)
  }

  /** Does anybody still want a link to it? */
  wants(target: Target): boolean {
    const { node, address } = target
    return (node === undefined ? this.#seeds.get(address) : this.#targets.get(node)) === target
  }

  target(node: NodeId): Target | undefined {
    return this.#targets.get(node)
  }

  /** Dials whoever is due. */
  tick(): void {
    const nowMs = this.#clock.now()
    for (const target of this.#seeds.values()) if (isDue(target, nowMs)) this.#dial(target)
    for (const target of this.#targets.values()) if (isDue(target, nowMs)) this.#dial(target)
  }

  #target(node: NodeId | undefined, address: string, afterMs: number): Target {
    return { node, address, state: 'waiting', dueMs: this.#clock.now() + afterMs, delayMs: 0, told: false }
  }

  #dial(target: Target): void {
    target.state = 'dialling'
    const { address } = target
    this.#net.dial(
      address,
      (stream, name) => this.#dialled.opened(target, stream, name),
      (fault) => this.#failed(target, address, fault),
    )
  }

  #failed(target: Target, address: string, fault: Error & { readonly code?: string }): void {
    // Somebody may have dialled us meanwhile.
    if (target.state !== 'dialling') return
    const { node, told } = target
    this.#log[told ? 'debug' : 'warn']({ node, address, err: fault.message }, 'cannot reach a node; trying again')
    target.told = true
    target.state = 'waiting'
    this.#later(target)
    if (fault.code === 'ECONNREFUSED' && node !== undefined) this.#dialled.refused(node)
  }

  #later(target: Target): void {
    const { leastMs, mostMs } = this.#settings
    target.delayMs = Math.min(Math.max(target.delayMs * 2, leastMs), mostMs)
    this.#wait(target, target.delayMs)
  }

  #wait(target: Target, delayMs: number): void {
    // Two who lost each other at the same moment should not dial each other at the same moment, too.
    target.dueMs = this.#clock.now() + delayMs / 2 + this.#random.below(Math.ceil(delayMs / 2))
  }
}

function isDue({ state, dueMs }: Target, nowMs: number): boolean {
  return state === 'waiting' && dueMs <= nowMs
}
