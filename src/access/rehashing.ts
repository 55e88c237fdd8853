import { BusyError, type Bytes, type Log, type PasswordHasher, type Random } from '../host.ts'
import { hashPassword, parseHash, type PasswordHash } from './password-hash.ts'
import type { PasswordBook } from './passwords.ts'

export interface NewHash {
  readonly old: string
  readonly new: string
}

/** Changes the file, where the old hash still stands. */
export type SaveHashes = (hashes: ReadonlyMap<string, NewHash>) => Promise<void>

/**
 * Replaces weak hashes as soon as somebody has shown the password for one. A log-in never waits for it, and one that fails is
 * tried again at the next.
 *
 *   proved ─▶ argon2id ─▶ ready ─▶ one write for all that are ready ─▶ the book
 */
export class Rehashing {
  readonly #hasher: PasswordHasher
  readonly #random: Random
  readonly #book: PasswordBook
  readonly #save: SaveHashes
  readonly #log: Log
  /** Users whose hash is under way: never more than there are users. */
  readonly #begun = new Set<string>()
  #ready = new Map<string, NewHash>()
  #saving: Promise<void> | undefined

  constructor(hasher: PasswordHasher, random: Random, book: PasswordBook, save: SaveHashes, log: Log) {
    this.#hasher = hasher
    this.#random = random
    this.#book = book
    this.#save = save
    this.#log = log
  }

  /** This is the right password to that hash. Resolves when all is done, for tests. */
  async proved(username: string, hash: PasswordHash, password: Bytes): Promise<void> {
    if (!hash.weak || this.#begun.has(username)) return
    this.#begun.add(username)
    try {
      const text = await hashPassword(this.#hasher, this.#random, password)
      this.#ready.set(username, { old: hash.text, new: text })
      await (this.#saving ??= this.#saveAll())
    } catch (fault) {
      if (!(fault instanceof BusyError))
        this.#log.warn({ user: username, fault: (fault as Error).message }, 'a weak hash of a password stays')
    } finally {
      this.#begun.delete(username)
    }
  }

  async #saveAll(): Promise<void> {
    try {
      while (this.#ready.size > 0) {
        const hashes = this.#ready
        this.#ready = new Map()
        await this.#save(hashes)
        for (const [username, { new: text }] of hashes) this.#replace(username, text)
      }
    } finally {
      this.#ready.clear()
      this.#saving = undefined
    }
  }

  #replace(username: string, text: string): void {
    const user = this.#book.get(username)
    const password = parseHash(text)
    if (user && typeof password !== 'string') this.#book.set(username, { ...user, password })
  }
}
