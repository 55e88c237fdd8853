import { ConnectionRates } from '../../src/access/connection-rates.ts'
import { MessageRates } from '../../src/access/message-rates.ts'
import { TokenBucket } from '../../src/access/token-bucket.ts'
import { SeededRandom } from '../support/random.ts'

// Limits held against models that drip and remember everything. Each gives the first difference, as text.

/** A bucket that drips millisecond by millisecond, in big whole numbers. */
class NaiveBucket {
  level: bigint
  #atMs: number

  constructor(
    readonly perSecond: number,
    readonly burst: number,
    nowMs: number,
  ) {
    this.level = BigInt(burst) * 1000n
    this.#atMs = nowMs
  }

  passTo(nowMs: number): void {
    for (; this.#atMs < nowMs; this.#atMs++) this.#drip()
  }

  take(cost: number): boolean {
    if (!this.has(cost)) return false
    this.spend(cost)
    return true
  }

  has(cost: number): boolean {
    return this.level >= BigInt(Math.min(cost, this.burst)) * 1000n
  }

  spend(cost: number): void {
    this.level -= BigInt(cost) * 1000n
  }

  wait(): number {
    const before = this.level
    let ms = 0
    for (; this.level < 0n; ms++) this.#drip()
    this.level = before
    return ms
  }

  get full(): boolean {
    return this.level === BigInt(this.burst) * 1000n
  }

  #drip(): void {
    const most = BigInt(this.burst) * 1000n
    this.level += BigInt(this.perSecond)
    if (this.level > most) this.level = most
  }
}

const pause = (random: SeededRandom): number => random.below(random.once(2) ? 6 : 2000)

export function bucketsDiffer(seed: number, rounds = 150): string | undefined {
  const random = new SeededRandom(seed)
  for (let round = 0; round < rounds; round++) {
    const [perSecond, burst] = [1 + random.below(3000), 1 + random.below(50)]
    let now = random.below(1e9)
    const naive = new NaiveBucket(perSecond, burst, now)
    // A clock with fractions: only whole milliseconds count.
    const ours = new TokenBucket({ perSecond, burst }, now + 0.7)
    for (let step = 0; step < 30; step++) {
      now += pause(random)
      naive.passTo(now)
      const at = now + 0.9
      const cost = random.below(random.once(2) ? 4 : 60)
      const asked = random.below(5)
      // Arguments are evaluated in order: ours answers before the model takes its turn.
      const pairs: readonly (() => [unknown, unknown])[] = [
        () => [ours.spend(cost, at), (naive.spend(cost), naive.wait())],
        () => [ours.has(cost, at), naive.has(cost)],
        () => [ours.take(cost, at), naive.take(cost)],
        () => [ours.full(at), naive.full],
        () => [ours.waitMs(at), naive.wait()],
      ]
      const [is, wanted] = pairs[asked]!()
      if (is !== wanted)
        return `seed ${seed}: round ${round}, step ${step}, question ${asked}: ${String(is)}, not ${String(wanted)}`
    }
  }
  return undefined
}

const rate = { atOnce: 3, perSecond: 2, neighbours: 1000 }

/** Remembers everybody and everything, by what each address is known to be. */
class NaiveConnections {
  readonly #open = new Map<string, number>()
  readonly #buckets = new Map<string, NaiveBucket>()

  open(key: string, nowMs: number): string | undefined {
    if (key === 'loopback') return undefined
    const bucket = this.#buckets.get(key) ?? new NaiveBucket(rate.perSecond, rate.perSecond, nowMs)
    this.#buckets.set(key, bucket)
    bucket.passTo(nowMs)
    const open = this.#open.get(key) ?? 0
    if (open >= rate.atOnce) return 'too-many-at-once'
    if (!bucket.take(1)) return 'too-fast'
    this.#open.set(key, open + 1)
    return undefined
  }

  close(key: string): boolean {
    const open = this.#open.get(key) ?? 0
    if (open > 0) this.#open.set(key, open - 1)
    return open > 0
  }
}

/** Addresses, and who is behind them. */
const people: readonly (readonly [address: string, who: string])[] = [
  ['192.0.2.1', 'one'],
  ['::ffff:192.0.2.1', 'one'],
  ['192.0.2.2', 'two'],
  ['2001:db8:0:1::1', 'six'],
  ['2001:db8:0:1:ffff::9', 'six'],
  ['2001:db8:0:2::1', 'seven'],
  ['127.0.0.1', 'loopback'],
  ['::ffff:127.3.3.3', 'loopback'],
  ['::1', 'loopback'],
]

export function connectionsDiffer(seed: number, rounds = 80): string | undefined {
  const random = new SeededRandom(seed)
  for (let round = 0; round < rounds; round++) {
    const [ours, naive] = [new ConnectionRates(rate), new NaiveConnections()]
    let now = 0
    for (let step = 0; step < 100; step++) {
      now += random.once(2) ? 0 : random.below(900)
      const [address, who] = random.pick(people)
      if (random.once(3)) {
        if (naive.close(who)) ours.close(address)
        continue
      }
      const [is, wanted] = [ours.open(address, now), naive.open(who, now)]
      if (is !== wanted) return `seed ${seed}: round ${round}, step ${step}, ${address}: ${is}, not ${wanted}`
    }
    if (ours.size > 4) return `seed ${seed}: ${ours.size} neighbours`
  }
  return undefined
}

const sending = {
  client: { messages: { perSecond: 10, burst: 5 }, bytes: { perSecond: 500, burst: 400 } },
  user: { messages: { perSecond: 15, burst: 10 }, bytes: { perSecond: 900, burst: 700 } },
}

/** Clients of a few users come, send, go and come again. */
export function messagesDiffer(seed: number, rounds = 60): string | undefined {
  const random = new SeededRandom(seed)
  for (let round = 0; round < rounds; round++) {
    const ours = new MessageRates(sending)
    const buckets = new Map<string, { readonly bucket: NaiveBucket; readonly bytes: boolean }>()
    let now = 0
    const bucketOf = (key: string, { perSecond, burst }: { perSecond: number; burst: number }, bytes: boolean) => {
      const known = buckets.get(key) ?? { bucket: new NaiveBucket(perSecond, burst, now), bytes }
      buckets.set(key, known)
      known.bucket.passTo(now)
      return known
    }
    const connections = new Map<string, NonNullable<ReturnType<MessageRates['open']>>>()
    for (let step = 0; step < 80; step++) {
      now += random.once(2) ? 0 : random.below(700)
      const [user, id] = [random.pick([undefined, 'ann', 'bob', 'annx']), random.pick(['x', 'y'])]
      const name = `${user} ${id}`
      const connection = connections.get(name) ?? ours.open(user, id, now)!
      connections.set(name, connection)
      if (random.once(6)) {
        connection.release()
        connections.delete(name)
        continue
      }
      const mine = [
        bucketOf(`${name} m`, sending.client.messages, false),
        bucketOf(`${name} b`, sending.client.bytes, true),
        ...(user === undefined
          ? []
          : [bucketOf(`${user} m`, sending.user.messages, false), bucketOf(`${user} b`, sending.user.bytes, true)]),
      ]
      const size = random.below(300)
      const cost = ({ bytes }: { bytes: boolean }): number => (bytes ? size : 1)
      let [is, wanted]: [unknown, unknown] = [undefined, undefined]
      if (random.once(2)) {
        is = connection.take(size, now)
        wanted = mine.every((one) => one.bucket.has(cost(one)))
        if (wanted) for (const one of mine) one.bucket.spend(cost(one))
      } else {
        const messages = 1 + random.below(3)
        is = connection.spend(size, now, messages)
        for (const one of mine) one.bucket.spend(one.bytes ? size : messages)
        wanted = Math.max(...mine.map(({ bucket }) => bucket.wait()))
      }
      if (is !== wanted)
        return `seed ${seed}: round ${round}, step ${step}, ${name}: ${String(is)}, not ${String(wanted)}`
    }
  }
  return undefined
}
