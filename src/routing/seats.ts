import { Copy, isPlain, type Member, plainGrants } from './delivery.ts'

/** A subscriber, by number, while it has a subscription. */
export class Seat<S extends Member> {
  subscriptions = 0
  /** The match that met it last, where it stands there, its first grant there, and whether more have been merged. */
  match = 0
  place = 0
  grant = 0
  merged = false
  /** Its deliveries for each plain grant, shared by all routes: most sessions need one or two. */
  #plain: (Copy<S> | undefined)[] | undefined = undefined

  constructor(
    readonly subscriber: S,
    readonly number: number,
  ) {}

  delivery(grant: number): Copy<S> {
    if (!isPlain(grant)) return new Copy(this.subscriber).add(grant)
    const plain = (this.#plain ??= [])
    while (plain.length <= grant && plain.length < plainGrants) plain.push(undefined)
    return (plain[grant] ??= new Copy(this.subscriber).add(grant))
  }
}

/** Numbers subscribers, so that a subscription holds four bytes of each. */
export class Seats<S extends Member> {
  readonly #seats: (Seat<S> | undefined)[] = []
  readonly #numbers = new Map<S, Seat<S>>()
  readonly #free: number[] = []

  at(number: number): Seat<S> {
    return this.#seats[number]!
  }

  of(subscriber: S): Seat<S> | undefined {
    return this.#numbers.get(subscriber)
  }

  /** The subscriber's seat, with one subscription more. */
  take(subscriber: S): Seat<S> {
    const seat = this.#numbers.get(subscriber) ?? this.#add(subscriber)
    seat.subscriptions++
    return seat
  }

  /** One subscription fewer. */
  leave(seat: Seat<S>): void {
    if (--seat.subscriptions > 0) return
    this.#numbers.delete(seat.subscriber)
    this.#seats[seat.number] = undefined
    this.#free.push(seat.number)
  }

  #add(subscriber: S): Seat<S> {
    const seat = new Seat(subscriber, this.#free.pop() ?? this.#seats.length)
    this.#seats[seat.number] = seat
    this.#numbers.set(subscriber, seat)
    return seat
  }
}
