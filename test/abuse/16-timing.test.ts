import { describe, expect, test } from 'vitest'
import { CountingHasher } from '../access/kit.ts'
import { AuthFiles } from '../support/auth.ts'
import { startBroker } from '../support/broker.ts'
import { connectPacket, RawClient } from '../support/raw.ts'

// Time is not asserted: what is counted is the work that it is made of.

describe('abuse 16: timing', () => {
  test('an unknown user costs the same hash as a known one with a wrong password, and is told the same', async () => {
    const files = new AuthFiles()
    await files.users({ ann: { password: 'right' }, bob: { password: 'right' } })
    const hasher = new CountingHasher()
    const { auth } = files.config('auth: { users: users.yaml }')
    const broker = await startBroker({ hasher, config: { auth } })
    const tries: { username: string; costs: string[]; answer: string }[] = []
    for (const version of [4, 5] as const)
      for (const username of ['ann', 'nobody', 'bob', 'someone', '__proto__', 'x'.repeat(300)]) {
        const client = await RawClient.open(broker, version)
        const shown = { clientId: 'c', username, password: Buffer.from('wrong') }
        client.send(connectPacket(version, shown))
        const { raw } = await client.expect('connack')
        await client.expectClosed()
        tries.push({ username, costs: hasher.take(), answer: `${version} ${raw.toString('hex')}` })
      }
    const [first] = tries
    for (const { costs } of tries) expect(costs).toEqual(first!.costs)
    expect(first!.costs).toHaveLength(1)
    expect(new Set(tries.map(({ answer }) => answer)).size).toBe(2)
  })
})
