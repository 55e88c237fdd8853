import type { Log } from '../host.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import { checksum } from '../platform/checksum.ts'
import { openDataFolder } from '../platform/data-folder.ts'
import { nodeHost } from '../platform/host.ts'
import { openDiskStore } from '../store/disk-store.ts'
import { AedesPersistence, type OpenedStore } from './persistence.ts'

export type { Log } from '../host.ts'
export { DataFolderError } from '../platform/data-folder.ts'
export { DiskFullError, NotOpenError } from './durable.ts'
export { NoSuchPacketError } from './outgoing.ts'
export type { AedesPacket, AedesPubrel } from './packet.ts'
export { type AedesBroker, type AedesClient, AedesPersistence } from './persistence.ts'
export type { AedesSubscription } from './subscriptions.ts'

export interface AedesPersistenceOptions {
  /** The folder; made if it is not there. One broker at a time. */
  readonly data: string
  /** Where the store says what happens; `pino()` fits. Default: nowhere. */
  readonly log?: Log
}

/**
 * godwit's disk store for Aedes 1:
 *
 *     const persistence = aedesPersistence({ data: './data' })
 *     const broker = await Aedes.createBroker({ persistence })
 *     …
 *     broker.close(() => persistence.destroy())
 *
 * `createBroker` rejects with a DataFolderError when the folder cannot be used.
 */
export function aedesPersistence({ data, log = silent }: AedesPersistenceOptions): AedesPersistence {
  return new AedesPersistence((topics) => open(data, log, topics))
}

async function open(data: string, log: Log, topics: TopicTable): Promise<OpenedStore> {
  const folder = await openDataFolder(data, true)
  try {
    const { disk, index, storeId } = folder
    const { clock } = nodeHost(log)
    const { store, recovered } = openDiskStore({ disk, index, clock, log, storeId, topics, checksum })
    return { store, recovered, close: () => folder.close() }
  } catch (error) {
    await folder.close()
    throw error
  }
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }
