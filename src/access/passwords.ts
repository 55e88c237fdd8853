import type { Bytes, Digests, PasswordHasher, Random } from '../host.ts'
import type { Answer, Authenticator, Credentials, Decoys, Identity, Source } from './identity.ts'
import { newDecoy, type PasswordHash } from './password-hash.ts'

/** Compares passwords with hashes. What was right before is remembered, so that a fleet that comes back costs little. */
export class PasswordCheck {
  readonly #hasher: PasswordHasher
  readonly #digests: Digests
  readonly #most: number
  /** Of this process alone: nobody outside can tell which entry stands for which password. */
  readonly #key: Bytes
  /** Hash and password → is it right? The wrong ones leave as soon as that is known; the oldest use stands first. */
  readonly #known = new Map<string, Promise<boolean>>()

  /** @param most pairs that are remembered */
  constructor(hasher: PasswordHasher, digests: Digests, random: Random, most = 10_000) {
    this.#hasher = hasher
    this.#digests = digests
    this.#most = most
    this.#key = random.bytes(32)
  }

  get remembered(): number {
    return this.#known.size
  }

  /** Rejects with a BusyError when too many wait. */
  matches(hash: PasswordHash, password: Bytes): Promise<boolean> {
    const key = this.#keyOf(hash, password)
    const known = this.#known.get(key)
    if (known) {
      this.#known.delete(key)
      this.#known.set(key, known)
      return known
    }
    // Remembered at once: a hundred clients with one password that come at a time cost one hash.
    const checking = this.#compute(hash, password).then(
      (right) => {
        if (!right) this.#known.delete(key)
        return right
      },
      (fault: unknown) => {
        this.#known.delete(key)
        throw fault
      },
    )
    this.#known.set(key, checking)
    if (this.#known.size > this.#most) this.#known.delete(this.#known.keys().next().value!)
    return checking
  }

  /** 32 bytes that look random, and are the same for the same text as long as this process lives. */
  made(purpose: string, text: string): Bytes {
    return this.#digests.hmacSha256(this.#key, Buffer.from(`${purpose}\0${text}`))
  }

  async #compute(hash: PasswordHash, password: Bytes): Promise<boolean> {
    return this.#digests.same(await this.#hasher.hash(hash.work(password)), hash.expected)
  }

  // A hash has no NUL in it, so no two pairs read alike.
  #keyOf(hash: PasswordHash, password: Bytes): string {
    const text = Buffer.concat([Buffer.from(`${hash.text}\0`), password])
    return Buffer.from(this.#digests.hmacSha256(this.#key, text)).toString('base64')
  }
}

/** A user of a file of passwords. */
export interface PasswordUser {
  readonly password: PasswordHash
  readonly tenant?: string
  readonly groups?: readonly string[]
}

/** Users by name, and by number. */
export class PasswordBook {
  readonly #users: PasswordUser[] = []
  readonly #numbers = new Map<string, number>()

  constructor(users: Iterable<readonly [name: string, user: PasswordUser]> = []) {
    for (const [name, user] of users) this.set(name, user)
  }

  get size(): number {
    return this.#users.length
  }

  get(name: string): PasswordUser | undefined {
    return this.#users[this.#numbers.get(name) ?? -1]
  }

  at(number: number): PasswordUser | undefined {
    return this.#users[number]
  }

  set(name: string, user: PasswordUser): void {
    const number = this.#numbers.get(name) ?? this.#users.length
    this.#numbers.set(name, number)
    this.#users[number] = user
  }
}

/** Lets those in who know the password that stands in a file. */
export class PasswordAuthenticator implements Authenticator {
  readonly source: Source
  readonly decoys: Decoys
  readonly #book: PasswordBook
  readonly #check: PasswordCheck
  readonly #proved: (username: string, hash: PasswordHash, password: Bytes) => void

  /**
   * @param book read only here: who keeps the file may change it
   * @param proved told of each password that was right, so that a better hash can be made of it
   */
  constructor(
    source: Source,
    book: PasswordBook,
    check: PasswordCheck,
    proved: (username: string, hash: PasswordHash, password: Bytes) => void = () => {},
  ) {
    this.source = source
    this.#book = book
    this.#check = check
    this.#proved = proved
    this.decoys = new BookDecoys(book, check)
  }

  authenticate({ username, password }: Credentials): Answer | Promise<Answer> {
    // Before the name is looked up: who sends no password learns nothing by the time either.
    if (username === undefined || password === undefined) return 'not-mine'
    const user = this.#book.get(username)
    return user ? this.#compare(username, user, password) : 'not-mine'
  }

  async #compare(username: string, user: PasswordUser, password: Bytes): Promise<Answer> {
    if (!(await this.#check.matches(user.password, password))) return { denied: 'wrong password' }
    this.#proved(username, user.password, password)
    return { identity: identityOf(username, user, this.source) }
  }
}

function identityOf(name: string, { tenant, groups }: PasswordUser, source: Source): Identity {
  return { user: name, source, ...(tenant !== undefined && { tenant }), ...(groups && { groups }) }
}

class BookDecoys implements Decoys {
  readonly #book: PasswordBook
  readonly #check: PasswordCheck

  constructor(book: PasswordBook, check: PasswordCheck) {
    this.#book = book
    this.#check = check
  }

  get count(): number {
    return this.#book.size
  }

  async check(username: string, password: Bytes, index: number): Promise<void> {
    const salt = this.#check.made('salt', username)
    const expected = this.#check.made('hash', username)
    const decoy = this.#book.at(index)?.password.decoy(salt, expected) ?? newDecoy(salt, expected)
    await this.#check.matches(decoy, password)
  }
}
