import type { Bytes, PasswordHasher, PasswordWork, Random } from '../host.ts'

// Hashes of passwords as they stand in files. Base 64 has no padding in the first.
//
//   $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>      PHC string; Mosquitto 2.1 writes it too
//   $7$<iterations>$<salt>$<hash>                     Mosquitto: PBKDF2 with HMAC-SHA-512
//   $6$<salt>$<hash>                                  Mosquitto until 1.6: SHA-512

/** The hash of a password, read. */
export interface PasswordHash {
  readonly text: string
  /** What gives `expected` when the password is the right one. */
  work(password: Bytes): PasswordWork
  readonly expected: Bytes
  /** Not ours: to be replaced as soon as the password is known. */
  readonly weak: boolean
  /** One that costs the same and that no password opens. */
  decoy(salt: Bytes, expected: Bytes): PasswordHash
}

/** @returns what is wrong, as text that does not show the hash, when it is none that we can check */
export function parseHash(text: string): PasswordHash | string {
  const fields = text.split('$')
  if (fields[0] !== '' || fields.length < 4) return 'is no hash of a password'
  if (fields[1] === 'argon2id') return argon2id(text, fields)
  if (fields[1] === '7') return pbkdf2(text, fields)
  if (fields[1] === '6') return sha512(text, fields)
  return 'is a hash of a kind that is not known here: $argon2id$, $7$ and $6$ are'
}

/** What a new password costs: the least that OWASP recommends for argon2id. */
const cost = { memoryKiB: 19_456, passes: 2, lanes: 1 }
const saltBytes = 16
const hashBytes = 32

/** The hash to keep for a new password. */
export async function hashPassword(hasher: PasswordHasher, random: Random, password: Bytes): Promise<string> {
  const salt = random.bytes(saltBytes)
  const hash = await hasher.hash({ kind: 'argon2id', password, salt, ...cost, bytes: hashBytes })
  return argon2idText(cost, salt, hash)
}

/** A hash with the cost of a new one, which no password opens. */
export function newDecoy(salt: Bytes, expected: Bytes): PasswordHash {
  return argon2idHash('', cost, new Uint8Array(saltBytes), new Uint8Array(hashBytes)).decoy(salt, expected)
}

interface Argon2Cost {
  readonly memoryKiB: number
  readonly passes: number
  readonly lanes: number
}

function argon2id(text: string, fields: readonly string[]): PasswordHash | string {
  const [, , version, costs, saltText, hashText] = fields
  const [, m, t, p] = /^m=([0-9]{1,7}),t=([0-9]{1,4}),p=([0-9]{1,3})$/.exec(costs ?? '') ?? []
  const salt = fromBase64(saltText, 8, 64)
  const expected = fromBase64(hashText, 16, 128)
  if (fields.length !== 6 || version !== 'v=19' || !salt || !expected) return 'is no argon2id hash of version 19'
  const cost = { memoryKiB: Number(m), passes: Number(t), lanes: Number(p) }
  // More than this is a slip, or somebody who wants to see us without memory.
  const fits =
    cost.lanes >= 1 &&
    cost.lanes <= 16 &&
    cost.passes >= 1 &&
    cost.passes <= 100 &&
    cost.memoryKiB >= 8 * cost.lanes &&
    cost.memoryKiB <= 1_048_576
  return fits ? argon2idHash(text, cost, salt, expected) : 'is an argon2id hash whose cost (m, t, p) is out of range'
}

function argon2idHash(text: string, cost: Argon2Cost, salt: Bytes, expected: Bytes): PasswordHash {
  const bytes = expected.length
  return {
    text,
    expected,
    weak: false,
    work: (password) => ({ kind: 'argon2id', password, salt, ...cost, bytes }),
    decoy: (other, wanted) => {
      const own = sized(other, salt)
      const hash = sized(wanted, expected)
      return argon2idHash(argon2idText(cost, own, hash), cost, own, hash)
    },
  }
}

function argon2idText({ memoryKiB, passes, lanes }: Argon2Cost, salt: Bytes, hash: Bytes): string {
  return `$argon2id$v=19$m=${memoryKiB},t=${passes},p=${lanes}$${unpadded(salt)}$${unpadded(hash)}`
}

function pbkdf2(text: string, fields: readonly string[]): PasswordHash | string {
  const [, , iterationsText, saltText, hashText] = fields
  const iterations = /^[1-9][0-9]{0,7}$/.test(iterationsText ?? '') ? Number(iterationsText) : 0
  const salt = fromBase64(saltText, 1, 64)
  const expected = fromBase64(hashText, 64, 64)
  if (fields.length !== 5 || iterations === 0 || !salt || !expected) return 'is no hash of the kind $7$'
  if (iterations > 10_000_000) return 'is a $7$ hash with more than 10,000,000 iterations'
  return pbkdf2Hash(text, iterations, salt, expected)
}

function pbkdf2Hash(text: string, iterations: number, salt: Bytes, expected: Bytes): PasswordHash {
  return {
    text,
    expected,
    weak: true,
    work: (password) => ({ kind: 'pbkdf2', digest: 'sha512', password, salt, iterations, bytes: 64 }),
    decoy: (other, wanted) => {
      const own = sized(other, salt)
      const hash = sized(wanted, expected)
      return pbkdf2Hash(`$7$${iterations}$${padded(own)}$${padded(hash)}`, iterations, own, hash)
    },
  }
}

function sha512(text: string, fields: readonly string[]): PasswordHash | string {
  const [, , saltText, hashText] = fields
  const salt = fromBase64(saltText, 1, 64)
  const expected = fromBase64(hashText, 64, 64)
  return fields.length === 4 && salt && expected ? sha512Hash(text, salt, expected) : 'is no hash of the kind $6$'
}

function sha512Hash(text: string, salt: Bytes, expected: Bytes): PasswordHash {
  return {
    text,
    expected,
    weak: true,
    work: (password) => ({ kind: 'sha512', password, salt }),
    decoy: (other, wanted) => {
      const own = sized(other, salt)
      const hash = sized(wanted, expected)
      return sha512Hash(`$6$${padded(own)}$${padded(hash)}`, own, hash)
    },
  }
}

/** `bytes`, repeated or cut, as long as `like`. */
function sized(bytes: Bytes, like: Bytes): Bytes {
  return Uint8Array.from(like, (_, at) => bytes[at % bytes.length]!)
}

/** Strict: `Buffer.from` reads whatever it is given. */
function fromBase64(text: string | undefined, least: number, most: number): Bytes | undefined {
  if (text === undefined || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  const same = padded(bytes) === text || unpadded(bytes) === text
  return same && bytes.length >= least && bytes.length <= most ? bytes : undefined
}

function padded(bytes: Bytes): string {
  return Buffer.from(bytes).toString('base64')
}

function unpadded(bytes: Bytes): string {
  return padded(bytes).replace(/=+$/, '')
}
