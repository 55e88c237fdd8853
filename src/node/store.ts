import type { Config } from '../config/config.ts'
import type { DiskFault, Host } from '../host.ts'
import type { TopicTable } from '../mqtt/topic.ts'
import { checksum } from '../platform/checksum.ts'
import { openDataFolder } from '../platform/data-folder.ts'
import { openDiskStore } from '../store/disk-store.ts'
import { MemoryStore } from '../store/memory.ts'
import type { Places } from '../store/places.ts'
import type { Recovered, Store } from '../store/port.ts'

export interface OpenStore {
  readonly store: Store
  readonly recovered: Recovered
  readonly failed: Promise<DiskFault>
  readonly closeStore: () => Promise<void>
}

/** Opens what the configuration names. @throws DataFolderError */
export async function openStore(
  { data, store: settings, durability }: Config,
  host: Host,
  topics: TopicTable,
  places: Places,
): Promise<OpenStore> {
  if (settings === undefined) {
    const store = new MemoryStore()
    const recovered = { sessions: [], retained: [] }
    return { store, recovered, failed: new Promise(() => {}), closeStore: () => store.close() }
  }
  const folder = await openDataFolder(data, true)
  try {
    const { disk, index, storeId } = folder
    const { clock, log } = host
    const opened = openDiskStore({
      ...settings,
      disk,
      index,
      clock,
      log,
      storeId,
      topics,
      places,
      checksum,
      durability,
    })
    const { store, recovered } = opened
    return {
      store,
      recovered,
      failed: new Promise((resolve) => store.onFailure(resolve)),
      closeStore: () => store.close().finally(() => folder.close()),
    }
  } catch (fault) {
    await folder.close()
    throw fault
  }
}
