import { expect, test } from 'vitest'
import { City } from './cluster-kit.ts'

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => String(from + i))

test.each(['kill', 'power'] as const)('started without its cluster, a node keeps what is for others, %s', (how) => {
  const city = new City(['a', 'b'])
  city.keeper('b', 's', 't').disconnect()
  city.fall('b')
  city.until(() => city.node('a').members.state('b') === 'dead')
  city.publish(city.client('a', 'p'), 't', numbers(30), 2)
  city.fall('a', how)
  const a = city.machine('a')
  a.startAlone()
  expect(a.log.filter(({ level, message }) => level === 'warn' && message.includes('without its cluster')).length).toBe(
    1,
  )
  // Enough for some checkpoints, and for the segment to be worth collecting.
  city.keeper('a', 'other', 'u').disconnect()
  const busy = city.client('a', 'busy')
  for (const text of numbers(300)) city.publish(busy, 'v', [text.padStart(4000, '.')])
  const consumer = city.keeper('a', 'consumer', 'u/#')
  for (let i = 0; i < 300; i++) city.publish(busy, 'u/1', [String(i).padStart(4000, '.')])
  city.until(() => consumer.came.length === 300)
  city.run(60_000)
  city.fall('a', how)
  a.start()
  city.rise('b')
  city.run(5000)
  const client = city.client('b', 's', { clean: false, expirySeconds: 10_000 })
  city.until(() => client.came.length >= 30)
  expect(client.texts).toEqual(numbers(30))
  city.audit()
})
