import { expect, test } from 'vitest'
import { InFlight } from '../../src/cluster/in-flight.ts'
import { SeededRandom } from '../support/random.ts'

test('bytes in flight, against a list', () => {
  const random = new SeededRandom(7)
  const inFlight = new InFlight()
  let model: (readonly [seq: number, bytes: number])[] = []
  let next = 0
  for (let step = 0; step < 20_000; step++) {
    if (random.below(1000) === 0) {
      inFlight.clear()
      model = []
    } else if (random.below(2) === 0 || model.length === 0) {
      // Some are never sent, and now and then many are acknowledged at once, or nothing for long.
      next += 1 + (random.below(4) === 0 ? random.below(40) : 0)
      const bytes = 1 + random.below(1000)
      inFlight.sent(next, bytes)
      model.push([next, bytes])
    } else if (random.below(step % 4000 < 1000 ? 500 : 2) === 0) {
      const seq = model[random.below(Math.min(model.length, 50))]![0] + random.below(3)
      inFlight.arrived(seq)
      model = model.filter(([place]) => place > seq)
    }
    expect(inFlight.bytes).toBe(model.reduce((sum, [, bytes]) => sum + bytes, 0))
  }
})
