import { readFileSync } from 'node:fs'
import type { ReadFile } from '../config/files.ts'
import { readOwned } from '../platform/owned-file.ts'

/** Reads files that a configuration names. */
export const readTextFile: ReadFile = (path, secret) => (secret ? readOwned(path) : readFileSync(path, 'utf8'))
