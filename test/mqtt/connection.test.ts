import { expect, test } from 'vitest'
import { encode, Rig } from './line.ts'

test.each([3, 4, 5] as const)('version %i: a refusal that quotes 65,535 bytes fits into a reason string', (version) => {
  const rig = new Rig({ packetBytes: 100_000 })
  const line = rig.open(version)
  const topic = `${'a'.repeat(65_534)}#`
  line.feed(encode({ cmd: 'publish', topic, payload: '', qos: 0, dup: false, retain: false }, version))
  expect([line.ends, rig.clauses, rig.errors]).toEqual([1, ['MQTT-3.3.2-2'], []])
})
