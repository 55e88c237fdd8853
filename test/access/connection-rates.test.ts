import { isIP, isIPv4 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isLoopbackAddress, neighbourOf, parseV4, parseV6 } from '../../src/access/address.ts'
import { ConnectionRates } from '../../src/access/connection-rates.ts'
import { connectionsDiffer } from './limits-world.ts'

describe('who is behind an address', () => {
  for (const [address, wanted] of [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::FFFF:c000:207', '192.0.2.7'],
    ['0:0:0:0:0:ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:2:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'],
    ['2001:db8:1:3::1', '2001:db8:1:3::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::2', '0:0:0:0::/64'],
    ['', 'unknown'],
    ['undefined', 'unknown'],
    ['1.2.3', 'unknown'],
    ['01.2.3.4', 'unknown'],
    ['1::2::3', 'unknown'],
    ['1:2:3:4:5:6:7:8:9', 'unknown'],
    ['1:2:3:4:5:6:7::8', 'unknown'],
    ['::1.2.3.4:5', 'unknown'],
  ] as const)
    test(address, () => expect(neighbourOf(address)).toBe(wanted))

  for (const [address, wanted] of [
    ['127.0.0.1', true],
    ['127.255.0.9', true],
    ['::1', true],
    ['0:0:0:0:0:0:0:1', true],
    ['::ffff:127.0.0.1', true],
    ['::ffff:7f00:1', true],
    ['::1%lo', true],
    ['128.0.0.1', false],
    ['1.127.0.0', false],
    ['::2', false],
    ['::', false],
    ['127.0.0.1.example.org', false],
    ['127.1', false],
    ['', false],
  ] as const)
    test(`${address} ${wanted ? 'is' : 'is not'} this machine`, () => expect(isLoopbackAddress(address)).toBe(wanted))

  test("what is an address is what Node's own reader says", () => {
    const part = fc.oneof(
      fc.constantFrom('', '0', '1', 'ffff', '12345', 'g', ':', '1.2.3.4', '256', '::'),
      fc.nat(70_000).map((value) => value.toString(16)),
    )
    const text = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.array(part, { maxLength: 9 }).map((parts) => parts.join(':')),
      fc.array(fc.nat(300).map(String), { maxLength: 5 }).map((parts) => parts.join('.')),
    )
    fc.assert(
      fc.property(text, (address) => {
        expect(parseV4(address) !== undefined).toBe(isIPv4(address))
        expect(parseV6(address) !== undefined).toBe(isIP(address) === 6)
      }),
      { numRuns: 3000 },
    )
  })
})

const limits = { atOnce: 3, perSecond: 2, neighbours: 1000 }

test('so many at once, so many a second; one that goes makes room', () => {
  const rates = new ConnectionRates({ ...limits, perSecond: 100 })
  expect([1, 2, 3, 4].map(() => rates.open('192.0.2.1', 0))).toEqual([
    undefined,
    undefined,
    undefined,
    'too-many-at-once',
  ])
  expect(rates.open('192.0.2.2', 0)).toBeUndefined()
  rates.close('192.0.2.1')
  expect(rates.open('::ffff:192.0.2.1', 0)).toBeUndefined()
  const quick = new ConnectionRates(limits)
  const come = (nowMs: number): string | undefined => {
    const refusal = quick.open('2001:db8::1', nowMs)
    if (refusal === undefined) quick.close('2001:db8::99')
    return refusal
  }
  expect([0, 0, 0, 499, 500, 500, 5000, 5000, 5000].map(come)).toEqual([
    ...[undefined, undefined, 'too-fast', 'too-fast', undefined, 'too-fast'],
    ...[undefined, undefined, 'too-fast'],
  ])
  expect(quick.refused).toEqual({ 'too-many-at-once': 0, 'too-fast': 4, 'too-many-neighbours': 0 })
})

test('loopback is exempt', () => {
  const rates = new ConnectionRates(limits)
  for (let times = 0; times < 1000; times++)
    for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) expect(rates.open(address, 0)).toBeUndefined()
  expect(rates.size).toBe(0)
})

test('a table of a hundred thousand guests stays bounded, and what it knows of the busy ones holds', () => {
  const rates = new ConnectionRates({ atOnce: 2, perSecond: 5, neighbours: 500 })
  const guest = (at: number): string => `10.${(at >> 16) & 255}.${(at >> 8) & 255}.${at & 255}`
  for (let at = 0; at < 2; at++) rates.open('192.0.2.1', 0)
  let refused = 0
  for (let at = 0; at < 100_000; at++) {
    if (rates.open(guest(at), 0) !== undefined) refused++
    rates.close(guest(at))
  }
  expect(refused).toBe(0)
  expect(rates.size).toBe(500)
  expect(rates.open('192.0.2.1', 0)).toBe('too-many-at-once')
  for (let at = 0; at < 499; at++) expect(rates.open(guest(at), 1000)).toBeUndefined()
  expect(rates.open(guest(600), 1000)).toBe('too-many-neighbours')
  expect(rates.open(guest(3), 1000)).toBeUndefined()
  for (let at = 0; at < 499; at++) rates.close(guest(at))
  expect(rates.open(guest(600), 1000)).toBeUndefined()
})

test('who is forgotten would have been taken all the same', () => {
  expect(connectionsDiffer(7)).toBeUndefined()
})
