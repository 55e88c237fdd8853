import type { Session } from './session.ts'
import type { Timed, TimingWheel } from './wheel.ts'

/** Longest time for which a full subscriber may slow its publishers. */
const patienceMs = 1000
/** One that was too slow slows nobody for so long. */
const distrustMs = 30_000

/** Who published a message, as far as it can be slowed: a session, or another node. */
export interface Publisher {
  readonly connection: { hold(): void; release(): void } | undefined
}

/** A subscriber without room, and the publishers that wait for it. */
class Episode implements Timed {
  dueMs = Infinity
  tick = -1
  /** It has had its time: from now on what finds no room is dropped. */
  over = false
  readonly #waiting: { hold(): void; release(): void }[] = []
  readonly #ended: (episode: Episode) => void

  constructor(ended: (episode: Episode) => void) {
    this.#ended = ended
  }

  due(): void {
    this.#ended(this)
  }

  hold(publisher: { hold(): void; release(): void }): void {
    publisher.hold()
    this.#waiting.push(publisher)
  }

  release(): void {
    for (const publisher of this.#waiting.splice(0)) publisher.release()
  }
}

/**
 * Slows publishers for a subscriber that is behind but moving, so that a burst is late instead of lost. When a subscriber
 * fills up, its publishers are not read for a second at most. One that has made no room by then loses what does not fit,
 * and slows nobody for half a minute, so that a reader that stands still costs its publishers one short pause.
 *
 *   full ── publishers held ──┬── half empty in time ──▶ released, as before
 *                             └── 1 s ──▶ released; what does not fit is dropped, for 30 s
 */
export class Backpressure {
  readonly #wheel: TimingWheel
  readonly #now: () => number
  readonly #episodes = new Map<Session, Episode>()

  constructor(wheel: TimingWheel, now: () => number) {
    this.#wheel = wheel
    this.#now = now
  }

  /** `full` has no room for a message of `publisher`. True when the publisher waits now, so that the message is taken. */
  slow(full: Session, publisher: Publisher | undefined): boolean {
    const connection = publisher?.connection
    // One that waits for itself would wait for ever.
    if (connection === undefined || publisher === full || full.connection === undefined) return false
    let episode = this.#episodes.get(full)
    if (episode === undefined) {
      episode = new Episode((ended) => this.#ended(full, ended))
      this.#episodes.set(full, episode)
      this.#wheel.schedule(episode, this.#now() + patienceMs)
    }
    if (episode.over) return false
    episode.hold(connection)
    return true
  }

  /** `session` has room again, or is gone. */
  relieve(session: Session): void {
    const episode = this.#episodes.get(session)
    if (episode === undefined || episode.over) return
    this.#episodes.delete(session)
    this.#wheel.cancel(episode)
    episode.release()
  }

  #ended(session: Session, episode: Episode): void {
    if (episode.over) return void this.#episodes.delete(session)
    episode.over = true
    this.#wheel.schedule(episode, this.#now() + distrustMs)
    episode.release()
  }

  /** Subscribers that are full, or were too slow a short time ago. */
  get full(): number {
    return this.#episodes.size
  }
}
