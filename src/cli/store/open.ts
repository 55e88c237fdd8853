import { checksum } from '../../platform/checksum.ts'
import { type ReadableFolder, readDataFolder } from '../../platform/data-reader.ts'
import { type Damage, type OfflineStore, readStore } from '../../store/offline.ts'
import { dataFault } from '../data-fault.ts'
import { CliError, Exit } from '../io.ts'

/** A data directory, and the store in it. */
export interface Opened {
  readonly path: string
  readonly folder: ReadableFolder
  readonly store: OfflineStore
  /** The index is damaged as a whole. */
  readonly indexDamage: readonly Damage[]
}

/**
 * Reads a data directory, hands it to `use`, and gives what that gives.
 * @throws CliError when it is not ours, newer, or in use
 */
export async function withStore<T>(directory: string, use: (opened: Opened) => T): Promise<T> {
  try {
    const folder = await readDataFolder(directory)
    const { path, disk, storeId, index } = folder
    let result: T
    try {
      const entries = index instanceof Error ? undefined : index.entries()
      const store = readStore({ disk, entries, storeId, checksum })
      result = use({ path, folder, store, indexDamage: index instanceof Error ? [damageOf(index)] : [] })
    } finally {
      await folder.close()
    }
    return result
  } catch (fault) {
    throw told(directory, fault)
  }
}

function damageOf({ message }: Error): Damage {
  const what = `it cannot be read: ${message}; what follows is what the log alone has`
  return { place: 'index', what, records: undefined, copies: new Map() }
}

function told(directory: string, fault: unknown): unknown {
  const { message, code } = fault as Error & { code?: unknown }
  const known = dataFault(directory, fault)
  if (known) return known
  return typeof code === 'string' ? new CliError(Exit.data, `${directory} cannot be read: ${message}`) : fault
}

/** Names and sizes of the files in a folder of the directory. */
export function filesIn({ disk }: ReadableFolder, folder: string): { name: string; bytes: number }[] {
  return disk.list(folder).map((own) => {
    const name = `${folder}/${own}`
    const file = disk.open(name, false)
    const bytes = file.size
    file.close()
    return { name, bytes }
  })
}
