import type { Log } from '../../src/host.ts'

/** A log that remembers its lines. */
export function recordedLog(): { readonly log: Log; readonly lines: object[] } {
  const lines: object[] = []
  const write = (fields: object, message: string) => void lines.push({ ...fields, message })
  return { log: { debug: write, info: write, warn: write, error: write }, lines }
}
