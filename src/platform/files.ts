import { readFileSync } from 'node:fs'

/** A whole text file. @throws as `node:fs` does. */
export function readText(path: string): string {
  return readFileSync(path, 'utf8')
}
