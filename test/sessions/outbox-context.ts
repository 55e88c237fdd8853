import { Slab } from '../../src/mqtt/message.ts'
import { Ledger } from '../../src/sessions/ledger.ts'
import type { OutboxContext, OutboxLimits } from '../../src/sessions/outlet.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import { Places } from '../../src/store/places.ts'

/** What an outbox works with, in memory. */
export function outboxContext(
  limits: Partial<OutboxLimits>,
  ledger = new Ledger(),
  store: OutboxContext['store'] = new MemoryStore(),
): OutboxContext {
  return {
    limits: { queueMessages: 10, queueBytes: 1e6, queueBytesTotal: 2 ** 40, overflow: 'drop-newest', ...limits },
    ledger,
    slab: new Slab(),
    store,
    places: new Places(),
    queued: { bytes: 0 },
  }
}
