import { describe, expect, test } from 'vitest'
import { Backoff } from '../../src/access/backoff.ts'

test('0.25 s after the first failure, twice as long after each, 30 s at most, and none after a success', () => {
  const backoff = new Backoff()
  let nowMs = 0
  const waits: number[] = []
  for (let i = 0; i < 10; i++) {
    const waitMs = backoff.attempt('192.0.2.1', 'anna', nowMs)
    waits.push(waitMs)
    nowMs += waitMs
    backoff.failed('192.0.2.1', 'anna', nowMs)
  }
  expect(waits).toEqual([0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  for (let i = 0; i < 2000; i++) backoff.failed('192.0.2.1', 'anna', nowMs)
  expect(backoff.attempt('192.0.2.1', 'anna', nowMs)).toBe(30_000)
  backoff.succeeded('192.0.2.1', 'anna')
  expect(backoff.attempt('192.0.2.1', 'anna', nowMs)).toBe(0)
  expect(backoff.size).toBe(0)
})

test('who waits by himself need not wait', () => {
  const backoff = new Backoff()
  backoff.failed('a', 'anna', 0)
  expect(backoff.attempt('a', 'anna', 250)).toBe(0)
})

describe('by address and user', () => {
  for (const [address, user, waitMs] of [
    ['192.0.2.1', 'anna', 250],
    ['192.0.2.1', 'berta', 0],
    ['192.0.2.2', 'anna', 0],
    ['192.0.2', '.1anna', 0],
    ['', '192.0.2.1anna', 0],
    ['__proto__', 'constructor', 0],
  ] as const)
    test(`${address} ${user}`, () => {
      const backoff = new Backoff()
      backoff.failed('192.0.2.1', 'anna', 0)
      expect(backoff.attempt(address, user, 0)).toBe(waitMs)
    })
})

test('a hundred that come at a time wait one behind the other', () => {
  const backoff = new Backoff()
  for (let i = 0; i < 3; i++) backoff.failed('a', 'anna', 0)
  const waits = Array.from({ length: 100 }, () => backoff.attempt('a', 'anna', 0))
  expect(waits.slice(0, 4)).toEqual([1000, 2000, 3000, 4000])
  expect(Math.max(...waits)).toBe(30_000)
})

test('the table is bounded, and drops are counted; what is old leaves by itself', () => {
  const backoff = new Backoff(100)
  for (let i = 0; i < 150; i++) backoff.failed('a', `u${i}`, i)
  expect([backoff.size, backoff.dropped]).toEqual([100, 50])
  // The last used stay.
  expect(backoff.attempt('a', 'u149', 149)).toBe(250)
  expect(backoff.attempt('a', 'u49', 149)).toBe(0)
  for (let i = 0; i < 100; i++) backoff.failed('b', 'x', 700_000 + i)
  expect([backoff.size, backoff.dropped]).toEqual([1, 50])
})
