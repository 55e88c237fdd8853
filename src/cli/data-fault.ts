import { CliError, Exit } from './io.ts'

/**
 * What a person is told of a data directory that cannot be used; undefined when `fault` is about something else. By their
 * names: the classes would load the platform and the store, which other commands need not wait for.
 */
export function dataFault(directory: string, fault: unknown): CliError | undefined {
  const { name = '', message = '' } = fault as Partial<Error>
  // It names the directory itself, and says what to do.
  if (name === 'DataFolderError') return new CliError(Exit.data, message)
  return storeFaults.has(name) ? new CliError(Exit.data, `${directory}: ${message}`) : undefined
}

const storeFaults = new Set(['StoreFormatError', 'LogFormatError', 'CorruptRecordError'])
