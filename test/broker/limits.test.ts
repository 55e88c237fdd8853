import { expect, test } from 'vitest'
import { defaultConnectionRates } from '../../src/access/connection-rates.ts'
import { defaultLimits } from '../../src/broker/limits.ts'
import { limitsWithin } from '../../src/config/memory.ts'
import { maxLevels } from '../../src/mqtt/topic.ts'

const mebibyte = 2 ** 20

// What holds where nobody has set anything else: a change here is a change of what strangers may do.
test('defaults', () => {
  expect(defaultLimits).toEqual({
    packetBytes: 2_000_000,
    packetBytesBeforeConnect: 64 * 1024,
    bytesBeforeConnectTotal: 64 * mebibyte,
    connectSeconds: 10,
    hookSeconds: 5,
    clientIdBytes: 256,
    userProperties: 64,
    userPropertyBytes: 8 * 1024,
    subscriptionsPerSession: 1000,
    topicAliases: 32,
    // Measured, docs/architecture.md: with 100 and 32 a third of the throughput is left.
    receiveMaximum: 1024,
    inflightMessages: 1024,
    queueMessages: 1000,
    queueBytes: 16 * mebibyte,
    queueBytesTotal: 1024 * mebibyte,
    sessionExpirySeconds: 7 * 24 * 3600,
    keepAliveSeconds: 600,
    unsentBytes: mebibyte,
    stallSeconds: 30,
    retainedMessages: 1_000_000,
    retainedBytes: 256 * mebibyte,
    sysSeconds: 10,
  })
  expect(maxLevels).toBe(100)
  expect(defaultConnectionRates).toEqual({ atOnce: 100, perSecond: 20, neighbours: 65_536 })
  expect(limitsWithin(512 * mebibyte, defaultLimits)).toEqual({
    queueBytesTotal: 128 * mebibyte,
    retainedBytes: 128 * mebibyte,
  })
})
