import { describe, expect, test } from 'vitest'
import { MessageRates } from '../../src/access/message-rates.ts'
import { TokenBucket } from '../../src/access/token-bucket.ts'
import { bucketsDiffer, messagesDiffer } from './limits-world.ts'

test('a bucket is what dripping is, step by step', () => {
  expect(bucketsDiffer(7)).toBeUndefined()
})

test('nothing is read until the debt is paid, and not a millisecond longer', () => {
  const bucket = new TokenBucket({ perSecond: 7, burst: 10 }, 0)
  expect(bucket.spend(10, 0)).toBe(0)
  const wait = bucket.spend(3, 0)
  expect(wait).toBe(Math.ceil(3000 / 7))
  expect([bucket.waitMs(wait - 1), bucket.waitMs(wait)]).toEqual([1, 0])
})

test('in the long run nobody gets more than the rate', () => {
  const bucket = new TokenBucket({ perSecond: 100, burst: 20 }, 0)
  let sent = 0
  for (let now = 0, wait = 0; now < 60_000; now += Math.max(1, wait)) {
    wait = bucket.spend(9, now)
    sent += 9
  }
  expect(sent).toBeLessThanOrEqual(100 * 60 + 20 + 9)
  expect(sent).toBeGreaterThanOrEqual(100 * 60)
})

describe('extremes', () => {
  test('a clock that goes back, a rest of years, a debt of petabytes', () => {
    const bucket = new TokenBucket({ perSecond: 1_000_000_000_000, burst: 1_000_000_000_000 }, 1e12)
    expect(bucket.spend(1, 0)).toBe(0)
    for (let times = 0; times < 10_000; times++) bucket.spend(268_435_455, 1e12)
    expect(Number.isSafeInteger(bucket.waitMs(1e12))).toBe(true)
    expect(bucket.full(1e15)).toBe(true)
    const slow = new TokenBucket({ perSecond: 1, burst: 1 }, 0)
    for (let times = 0; times < 10_000; times++) slow.spend(268_435_455, 0)
    expect(slow.waitMs(0)).toBe(1e15)
    expect([slow.waitMs(1e15 - 1), slow.waitMs(1e15)]).toEqual([1, 0])
  })

  test('what is larger than the bucket passes when that is full, and is paid for', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 10 }, 0)
    expect([bucket.take(35, 0), bucket.take(1, 0), bucket.waitMs(0)]).toEqual([true, false, 2500])
    expect(bucket.take(35, 3499)).toBe(false)
    expect(bucket.take(35, 3500)).toBe(true)
  })
})

describe('messages and bytes, by client and by user', () => {
  const rates = (most?: number): MessageRates =>
    new MessageRates(
      {
        client: { messages: { perSecond: 10, burst: 10 } },
        user: { bytes: { perSecond: 1000, burst: 1000 } },
      },
      most,
    )

  test('nothing limited: nothing is made', () => {
    const open = new MessageRates({ client: {}, user: {} })
    expect([open.open('ann', 'x', 0), open.size]).toEqual([undefined, 0])
    expect(
      new MessageRates({ client: {}, user: { messages: { perSecond: 1, burst: 1 } } }).open(undefined, 'x', 0),
    ).toBeUndefined()
  })

  test('clients that come, send, go and come again: as buckets that nobody forgets', () => {
    expect(messagesDiffer(7)).toBeUndefined()
  })

  test('the longest wait counts', () => {
    const one = rates().open('ann', 'x', 0)!
    for (let times = 0; times < 10; times++) expect(one.spend(100, 0)).toBe(0)
    expect(one.spend(0, 0)).toBe(100)
    expect(one.spend(1000, 0)).toBe(1000)
    expect([one.waitMs(500), one.waitMs(1000)]).toEqual([500, 0])
  })

  test('two clients of a user share what is the user’s, and nothing else', () => {
    const all = rates()
    const [one, other, stranger] = [all.open('ann', 'x', 0)!, all.open('ann', 'y', 0)!, all.open('bob', 'x', 0)!]
    expect(one.spend(1500, 0)).toBe(500)
    expect(other.waitMs(0)).toBe(500)
    expect([other.take(1, 0), stranger.take(1, 0)]).toEqual([false, true])
  })

  test('what is refused costs nothing, of any bucket', () => {
    const one = rates().open('ann', 'x', 0)!
    expect(one.take(1000, 0)).toBe(true)
    for (let times = 0; times < 50; times++) expect(one.take(1, 0)).toBe(false)
    // Nine messages are left, of the tenth of a second alone would come one.
    for (let times = 0; times < 9; times++) expect(one.take(0, 0)).toBe(true)
    expect(one.take(0, 0)).toBe(false)
  })

  test('coming back does not pay a debt', () => {
    const all = rates()
    const first = all.open('ann', 'x', 0)!
    first.spend(5000, 0)
    first.release()
    first.release()
    for (let at = 0; at < 10; at++) all.open('other', `${at}`, 0)!.release()
    expect(all.open('ann', 'x', 1000)!.waitMs(1000)).toBe(3000)
  })

  test('what is even is forgotten, what is in debt too when there is too much of it', () => {
    const all = rates(50)
    for (let at = 0; at < 1000; at++) {
      const one = all.open(`user-${at}`, 'x', at * 10_000)!
      one.spend(10, at * 10_000)
      one.release()
    }
    expect(all.size).toBeLessThan(10)
    expect(all.forgotten).toBe(0)
    for (let at = 0; at < 1000; at++) {
      const one = all.open(`guest-${at}`, 'x', 2e7)!
      one.spend(5000, 2e7)
      one.release()
    }
    expect(all.size).toBe(50)
    expect(all.forgotten).toBeGreaterThan(1900)
  })
})
