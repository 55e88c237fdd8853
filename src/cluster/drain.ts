import type { Session } from '../sessions/session.ts'
import type { NodeId } from './peers.ts'

/** What waits here for another node. */
export interface Backlog {
  readonly node: NodeId
  readonly messages: number
}

export interface Drained {
  /** Nothing is left here: the node may leave. */
  readonly done: boolean
  /** Sessions that other nodes have now. */
  readonly moved: number
  /** Sessions that could not be handed over. */
  readonly remaining: number
  /** What could not go over to other nodes. */
  readonly waiting: readonly Backlog[]
}

export interface DrainParts {
  readonly now: () => number
  readonly sessions: { readonly online: number; readonly size: number; values(): Iterable<Session> }
  /** Nodes that take sessions and clients. */
  readonly targets: () => readonly NodeId[]
  /** Where a node's clients connect; undefined: it has not said. */
  readonly addressOf: (node: NodeId) => string | undefined
  readonly sendAway: (session: Session, serverReference: string | undefined) => void
  /** Begins to give a session to a node; false when that cannot be now. */
  readonly give: (session: Session, to: NodeId) => boolean
  /** How many are on their way, how many have arrived, and when one got on last. */
  readonly given: () => { readonly leaving: number; readonly left: number; readonly leftMs: number }
  /** What waits for other nodes, and whether it can go now. */
  readonly backlogs: () => readonly (Backlog & { readonly reachable: boolean })[]
  /** Calls `then` when all that the others have sent to us has arrived, and no more comes. */
  readonly settle: (then: (settled: boolean) => void) => void
}

/** Sessions on their way at once: clients that move by themselves have room beside them. */
const mostAtOnce = 32
/** A client that was sent away has this time to take its session along. */
const graceMs = 3000
/** Without anything that gets on. */
const patienceMs = 15_000
/** Sessions that are looked at in a tick. */
const mostLooks = 2000

/**
 * Empties this node, and takes it out of the cluster.
 *
 *   clients, at a rate ─▶ 0x9D, and where to go        they take their sessions along
 *   sessions ──▶ node, node, …                         those without a client, or whose client did not turn up elsewhere
 *   queues for other nodes ──▶ they                    or one of them cannot be reached: then we stay
 *   all that was for us has come, none of it is left ──▶ done
 *
 * A core: it acts at each `tick`, and is told the time.
 */
export class Drain {
  readonly #parts: DrainParts
  readonly #then: (drained: Drained) => void
  readonly #movedBefore: number
  readonly #clientsPerSecond: number
  /** Clients that may be sent away now; the fraction counts. */
  #allowance = 1
  #tickMs: number
  /** Clients that are still to be sent away; nobody new comes. */
  readonly #clients: Iterator<Session>
  readonly #awayMs = new Map<Session, number>()
  #walk: Iterator<Session>
  #turn = 0
  /** What is left to do, as a number, and when it last became less. */
  #left = Infinity
  #progressMs: number
  #settling = false
  #over = false

  /** @param then called once: it is done, or cannot go on */
  constructor(parts: DrainParts, clientsPerSecond: number, then: (drained: Drained) => void) {
    this.#parts = parts
    this.#then = then
    this.#clientsPerSecond = clientsPerSecond
    this.#tickMs = this.#progressMs = parts.now()
    this.#movedBefore = parts.given().left
    this.#clients = [...parts.sessions.values()].filter(({ online }) => online).values()
    this.#walk = parts.sessions.values()[Symbol.iterator]()
  }

  /** Where the next client that comes, or is sent away, may go. They take turns. */
  nextAddress(): string | undefined {
    const { targets, addressOf } = this.#parts
    const addresses = targets().flatMap((node) => addressOf(node) ?? [])
    return addresses[this.#turn++ % addresses.length]
  }

  tick(): void {
    if (this.#over) return
    const { now, sessions, backlogs, given } = this.#parts
    const nowMs = now()
    this.#sendAway(nowMs)
    this.#give(nowMs)
    const waiting = backlogs().filter(({ messages }) => messages > 0)
    const moving = waiting.reduce((sum, { messages, reachable }) => sum + (reachable ? messages : 0), 0)
    this.#watch(sessions.size + sessions.online + moving, given().leftMs, nowMs)
    if (sessions.size > 0 || moving > 0 || this.#settling) {
      if (nowMs - this.#progressMs >= patienceMs) this.end()
    } else if (waiting.length > 0) this.end()
    else this.#settle()
  }

  /** It ends here, however far it is. */
  end(done = false): void {
    if (this.#over) return
    this.#over = true
    const { given, sessions, backlogs } = this.#parts
    const waiting = backlogs().flatMap(({ node, messages }) => (messages > 0 ? [{ node, messages }] : []))
    this.#then({ done, moved: given().left - this.#movedBefore, remaining: sessions.size, waiting })
  }

  #sendAway(nowMs: number): void {
    const rate = this.#clientsPerSecond
    this.#allowance = Math.min(Math.max(1, rate), this.#allowance + ((nowMs - this.#tickMs) / 1000) * rate)
    this.#tickMs = nowMs
    while (this.#allowance >= 1) {
      const next = this.#clients.next()
      if (next.done === true) return
      // It may have left by itself.
      if (!next.value.online) continue
      this.#allowance--
      this.#awayMs.set(next.value, nowMs)
      this.#parts.sendAway(next.value, this.nextAddress())
    }
  }

  #give(nowMs: number): void {
    const { give, given, targets, sessions } = this.#parts
    const nodes = targets()
    if (nodes.length === 0) return
    let room = mostAtOnce - given().leaving
    for (let looks = Math.min(mostLooks, sessions.size); looks > 0 && room > 0; looks--) {
      let next = this.#walk.next()
      if (next.done === true) {
        // From the beginning: those that stayed.
        this.#walk = sessions.values()[Symbol.iterator]()
        next = this.#walk.next()
        if (next.done === true) return
      }
      const session = next.value
      if (session.online || nowMs - (this.#awayMs.get(session) ?? -Infinity) < graceMs) continue
      if (give(session, nodes[this.#turn++ % nodes.length]!)) room--
    }
  }

  /** Remembers when something got on. */
  #watch(left: number, movedMs: number, nowMs: number): void {
    if (left < this.#left) {
      this.#left = left
      this.#progressMs = nowMs
    } else if (movedMs > this.#progressMs) this.#progressMs = movedMs
  }

  #settle(): void {
    this.#settling = true
    this.#parts.settle((settled) => {
      this.#settling = false
      const { sessions, backlogs } = this.#parts
      // What came last may have gone on to somebody else: it is waited for as before.
      if (settled && sessions.size === 0 && backlogs().every(({ messages }) => messages === 0)) this.end(true)
    })
  }
}
