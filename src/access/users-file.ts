import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument, Scalar, type YAMLMap } from 'yaml'
import { isTenantName, tenantNameRule } from '../mqtt/tenant-name.ts'
import { isName } from './identity.ts'
import type { LineFault } from './mosquitto-passwords.ts'
import { parseHash, type PasswordHash } from './password-hash.ts'
import { parseVerifier, type ScramVerifier } from './scram.ts'

// The users of a broker, in a file that people edit as well as we do:
//
//   users:
//     anna:
//       password: "$argon2id$v=19$m=19456,t=2,p=1$…"
//       scram: "SCRAM-SHA-256$4096:…"         for v5 clients that do not want to show their password
//       tenant: north
//       groups: [operators]

export interface FileUser {
  /** Undefined: only SCRAM lets this user in. */
  readonly password: PasswordHash | undefined
  readonly scram: ScramVerifier | undefined
  readonly tenant?: string
  readonly groups?: readonly string[]
}

/** What to keep of a new user, or to change of one that is there. */
export interface UserFields {
  readonly password?: string
  /** Null takes it away: it would open with the old password. */
  readonly scram?: string | null
  readonly tenant?: string
  readonly groups?: readonly string[]
}

/** Reads such a file. What is wrong goes to `faults`, and never shows what stands there. */
export function parseUsers(text: string, faults: LineFault[]): ReadonlyMap<string, FileUser> {
  return new UsersText(text, faults).users
}

/** The text of such a file, to be read and changed; comments stay where they are. */
export class UsersText {
  readonly users: ReadonlyMap<string, FileUser>
  readonly #document: Document

  /** What is wrong goes to `faults`; it must not be changed then. */
  constructor(text: string, faults: LineFault[]) {
    const lines = new LineCounter()
    this.#document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true })
    const fault = (offset: number, message: string): void => {
      const { line, col } = lines.linePos(offset)
      faults.push({ line: Math.max(line, 1), column: Math.max(col, 1), message })
    }
    const broken = [...this.#document.errors, ...this.#document.warnings]
    // The library's own words quote the text.
    for (const { pos, code } of broken) fault(pos[0], `YAML: ${code.toLowerCase().replaceAll('_', ' ')}`)
    this.users = broken.length > 0 ? new Map() : readUsers(this.#document, fault)
  }

  /** Adds a user, or changes what `fields` names of one. */
  set(name: string, fields: UserFields): void {
    const document = this.#document
    if (!isMap(document.contents)) document.contents = document.createNode({})
    if (!isMap(document.get('users', true))) document.set('users', document.createNode({}))
    for (const [key, value] of Object.entries(fields) as [keyof UserFields, UserFields[keyof UserFields]][]) {
      if (value === null) document.deleteIn(['users', name, key])
      else if (value !== undefined) document.setIn(['users', name, key], nodeOf(document, value))
    }
  }

  remove(name: string): void {
    this.#document.deleteIn(['users', name])
  }

  toString(): string {
    return this.#document.toString({ lineWidth: 0 })
  }
}

/** Puts better hashes where the old ones still stand. @returns undefined when nothing is to be changed, or nothing can be */
export function withHashes(
  text: string,
  hashes: ReadonlyMap<string, { readonly old: string; readonly new: string }>,
): string | undefined {
  const faults: LineFault[] = []
  const file = new UsersText(text, faults)
  if (faults.length > 0) return undefined
  const due = [...hashes].filter(([name, { old }]) => file.users.get(name)?.password?.text === old)
  for (const [name, hash] of due) file.set(name, { password: hash.new })
  return due.length > 0 ? file.toString() : undefined
}

function nodeOf(document: Document, value: string | readonly string[]): unknown {
  if (typeof value !== 'string') return document.createNode(value, { flow: true })
  const node = new Scalar(value)
  node.type = 'QUOTE_DOUBLE'
  return node
}

type Fault = (offset: number, message: string) => void

function readUsers(document: Document, fault: Fault): ReadonlyMap<string, FileUser> {
  const users = new Map<string, FileUser>()
  const top = document.contents
  if (top === null || (isScalar(top) && top.value === null)) return users
  if (!isMap(top)) {
    fault(top.range?.[0] ?? 0, 'must be a map with users')
    return users
  }
  for (const { key, value } of top.items) {
    if (!isScalar(key) || key.value !== 'users') fault(offsetOf(key), 'unknown key: only "users" stands here')
    else if (isMap(value)) readEntries(document, value, users, fault)
    else if (jsOf(value, document) !== null) fault(offsetOf(value), 'users: must be a map of users')
  }
  return users
}

function readEntries(document: Document, entries: YAMLMap, users: Map<string, FileUser>, fault: Fault): void {
  for (const { key, value } of entries.items) {
    const name = isScalar(key) ? key.value : undefined
    if (!isName(name)) fault(offsetOf(key), 'no name of a user, or one that MQTT does not allow')
    else if (!isMap(value)) fault(offsetOf(value ?? key), `users.${name}: must be a map, written out`)
    else {
      const user = readUser(document, value, (offset, message) => fault(offset, `users.${name}${message}`))
      if (user) users.set(name, user)
    }
  }
}

function readUser(document: Document, map: YAMLMap, fault: Fault): FileUser | undefined {
  const found: { password?: PasswordHash; scram?: ScramVerifier; tenant?: string; groups?: readonly string[] } = {}
  let sound = true
  const wrong = (node: unknown, message: string): void => {
    sound = false
    fault(offsetOf(node), message)
  }
  for (const { key, value: node } of map.items) {
    const name = isScalar(key) ? key.value : undefined
    const value = jsOf(node, document)
    if (name === 'password' || name === 'scram') {
      const read =
        typeof value !== 'string' ? 'must be text' : name === 'password' ? parseHash(value) : parseVerifier(value)
      if (typeof read === 'string') wrong(node ?? key, `.${name}: ${read}`)
      else Object.assign(found, { [name]: read })
    } else if (name === 'tenant') {
      if (isTenantName(value)) found.tenant = value
      else wrong(node ?? key, `.tenant: must be ${tenantNameRule}`)
    } else if (name === 'groups') {
      if (Array.isArray(value) && value.every(isName)) found.groups = value
      else wrong(node ?? key, '.groups: must be a list of names')
    } else wrong(key, ': unknown key: password, scram, tenant and groups are known')
  }
  if (!sound) return undefined
  if (found.password || found.scram) return { ...found, password: found.password, scram: found.scram }
  wrong(map, ': has neither password nor scram')
  return undefined
}

function jsOf(node: unknown, document: Document): unknown {
  return isNode(node) ? node.toJS(document) : null
}

function offsetOf(node: unknown): number {
  return (node as { range?: readonly number[] | null } | null)?.range?.[0] ?? 0
}
