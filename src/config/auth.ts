import { readAclFile } from '../access/acl-file.ts'
import type { CertificateName } from '../access/certificate.ts'
import type { HttpHookSettings } from '../access/http-hook.ts'
import type { JwtSettings } from '../access/jwt.ts'
import { type JwtKey, jwtKey, parseJwks, secretKey } from '../access/jwt-keys.ts'
import { type LineFault, parseMosquittoPasswords } from '../access/mosquitto-passwords.ts'
import type { PasswordUser } from '../access/passwords.ts'
import type { Policy } from '../access/rules.ts'
import { type FileUser, parseUsers } from '../access/users-file.ts'
import { publicJwk } from '../platform/public-keys.ts'
import { authOrder, type AuthStep, type FileAuth, type SameClientId, urlFault } from './auth-schema.ts'
import type { ParsedFile } from './file.ts'
import { besideFile, faultText, type ReadFile } from './files.ts'
import type { Problem } from './problem.ts'

/** How clients prove who they are. With it nobody is anonymous, unless a listener says so. */
export interface AuthConfig {
  /** Whom to ask, one after the other. */
  readonly order: readonly AuthStep[]
  readonly users: { readonly file: string; readonly users: ReadonlyMap<string, FileUser> } | undefined
  /** Users of Mosquitto's password_file, which is never written. */
  readonly mosquitto: ReadonlyMap<string, PasswordUser> | undefined
  /** Mosquitto's acl_file. */
  readonly acl: Policy | undefined
  readonly jwt: JwtSettings | undefined
  readonly certificate: CertificateName | undefined
  /** Do those of the users file who have a verifier log in by SCRAM-SHA-256, too? */
  readonly scram: boolean
  readonly http: HttpAuth | undefined
  readonly sameClientId: SameClientId
}

export interface HttpAuth extends HttpHookSettings {
  readonly url: string
  readonly timeoutMs: number
  readonly token: string | undefined
  /** PEM. */
  readonly ca: string | undefined
}

const defaultHttp = { timeoutMs: 5000, concurrency: 32, waiting: 1000, cacheSeconds: 30, cacheEntries: 10_000 }

interface Given {
  readonly file: ParsedFile | undefined
  readonly readFile: ReadFile
  /** Does a listener ask clients for certificates? */
  readonly asksForCertificates: boolean
}

/**
 * Opens what the `auth` section names. @returns undefined when there is none. What is wrong goes to `problems`, and nothing must
 * be started then.
 */
export function authOf({ file, readFile, asksForCertificates }: Given, problems: Problem[]): AuthConfig | undefined {
  const auth = file?.values.auth
  if (!file || !auth) return undefined
  const reading = new Reading(file, readFile, problems)
  const { users, mosquitto, jwt, certificate, scram, http } = auth
  if (Object.keys(auth).every((key) => key === 'order' || key === 'sameClientId'))
    reading.wrong([], 'must say how clients log in, or be left out')
  if (mosquitto && mosquitto.password_file === undefined && mosquitto.acl_file === undefined)
    reading.wrong(['mosquitto'], 'must name a password_file or an acl_file')
  if (certificate && !asksForCertificates)
    reading.wrong(['certificate'], 'no listener asks for certificates: tls: { …, ca: FILE, requestCert: true }')
  if (scram && users === undefined) reading.wrong(['scram'], 'its verifiers stand in a users file: name one with users')
  return {
    order: orderOf(auth, reading),
    users: users === undefined ? undefined : reading.users(users),
    mosquitto: mosquitto?.password_file === undefined ? undefined : reading.mosquitto(mosquitto.password_file),
    acl: mosquitto?.acl_file === undefined ? undefined : reading.acl(mosquitto.acl_file),
    jwt: jwt && jwtOf(jwt, reading),
    certificate: certificate?.user,
    scram: scram ?? false,
    http: http && httpOf(http, reading),
    sameClientId: auth.sameClientId ?? 'refuse',
  }
}

/** The users file that a configuration names, which need not be there yet. */
export function usersFileOf(file: ParsedFile): string | undefined {
  const named = file.values.auth?.users
  return named === undefined ? undefined : besideFile(file.source, named)
}

/** Every one that is configured must stand in an order that is: one that is left out by mistake would be no door, or no lock. */
function orderOf(auth: FileAuth, reading: Reading): readonly AuthStep[] {
  const there = authOrder.filter(
    (step) => (step === 'mosquitto' ? auth.mosquitto?.password_file : auth[step]) !== undefined,
  )
  if (!auth.order) return there
  const { order } = auth
  for (const [at, step] of order.entries()) {
    if (!there.includes(step)) reading.wrong(['order', at], `${step} is not configured here`)
    if (order.indexOf(step) < at) reading.wrong(['order', at], `${step} stands further up already`)
  }
  const missing = there.filter((step) => !order.includes(step))
  if (missing.length > 0) reading.wrong(['order'], `must name ${missing.join(' and ')}, too`)
  return order
}

function jwtOf(jwt: NonNullable<FileAuth['jwt']>, reading: Reading): JwtSettings {
  const { issuer, audience, claims = {}, leewaySeconds = 5 } = jwt
  const { user = 'sub', tenant, groups, permissions } = claims
  const names = {
    user,
    ...(tenant !== undefined && { tenant }),
    ...(groups !== undefined && { groups }),
    ...(permissions !== undefined && { permissions }),
  }
  return { keys: keysOf(jwt, reading), issuer, audience, claims: names, leewaySeconds }
}

function keysOf({ key, jwks, secretFile }: NonNullable<FileAuth['jwt']>, reading: Reading): readonly JwtKey[] {
  if ([key, jwks, secretFile].filter((file) => file !== undefined).length !== 1) {
    reading.wrong(['jwt'], 'must name one of key (PEM), jwks and secretFile')
    return []
  }
  if (key !== undefined)
    return reading.keys(['jwt', 'key'], key, false, (text) => [
      jwtKey(publicJwk(text)) ?? 'is for no algorithm that is known here',
    ])
  if (jwks !== undefined) return reading.keys(['jwt', 'jwks'], jwks, false, parseJwks)
  return reading.keys(['jwt', 'secretFile'], secretFile!, true, (text) => [secretKey(text)])
}

function httpOf(http: NonNullable<FileAuth['http']>, reading: Reading): HttpAuth {
  const { url, allowPlaintext = false, tokenFile, ca, ...numbers } = http
  const fault = urlFault(url, allowPlaintext)
  if (fault !== undefined) reading.wrong(['http', 'url'], fault)
  return {
    url,
    ...defaultHttp,
    ...(numbers as Partial<typeof defaultHttp>),
    token: tokenFile === undefined ? undefined : reading.token(tokenFile),
    ca: ca === undefined ? undefined : reading.authority(ca),
  }
}

type Path = readonly PropertyKey[]

/** Opens files that the section names. What they hold is never shown. */
class Reading {
  readonly #file: ParsedFile
  readonly #readFile: ReadFile
  readonly #problems: Problem[]

  constructor(file: ParsedFile, readFile: ReadFile, problems: Problem[]) {
    this.#file = file
    this.#readFile = readFile
    this.#problems = problems
  }

  wrong(path: Path, message: string): void {
    this.#problems.push({ ...this.#file.where(['auth', ...path]), message })
  }

  users(name: string): AuthConfig['users'] {
    const read = this.#lines(['users'], name, true, parseUsers)
    return { file: besideFile(this.#file.source, name), users: read ?? new Map<string, FileUser>() }
  }

  mosquitto(name: string): AuthConfig['mosquitto'] {
    return this.#lines(['mosquitto', 'password_file'], name, false, parseMosquittoPasswords)
  }

  acl(name: string): Policy | undefined {
    const source = besideFile(this.#file.source, name)
    return this.#lines(['mosquitto', 'acl_file'], name, false, (text, faults) => readAclFile(source, text, faults))
  }

  /** @param parse gives keys, or what is wrong with one or with all of it */
  keys(
    path: Path,
    name: string,
    secret: boolean,
    parse: (text: string) => readonly (JwtKey | string)[] | string,
  ): readonly JwtKey[] {
    const text = this.#text(path, name, secret)
    if (text === undefined) return []
    const keys = [parsed(parse, text)].flat()
    for (const fault of keys.filter((key) => typeof key === 'string'))
      this.wrong(path, `${besideFile(this.#file.source, name)} ${fault}`)
    return keys.filter((key) => typeof key !== 'string')
  }

  token(name: string): string | undefined {
    const token = this.#text(['http', 'tokenFile'], name, true)?.trim()
    if (token !== undefined && !/^[\x21-\x7e]{1,4096}$/.test(token))
      this.wrong(
        ['http', 'tokenFile'],
        `${besideFile(this.#file.source, name)} holds no token: one line without blanks`,
      )
    return token
  }

  authority(name: string): string | undefined {
    const pem = this.#text(['http', 'ca'], name, false)
    if (pem !== undefined && !pem.includes('-----BEGIN CERTIFICATE-----'))
      this.wrong(['http', 'ca'], `${besideFile(this.#file.source, name)} holds no "-----BEGIN CERTIFICATE-----"`)
    return pem
  }

  #lines<T>(path: Path, name: string, secret: boolean, parse: (text: string, faults: LineFault[]) => T): T | undefined {
    const text = this.#text(path, name, secret)
    if (text === undefined) return undefined
    const faults: LineFault[] = []
    const read = parse(text, faults)
    const source = besideFile(this.#file.source, name)
    for (const fault of faults) this.#problems.push({ source, column: 1, ...fault })
    return read
  }

  #text(path: Path, name: string, secret: boolean): string | undefined {
    const file = besideFile(this.#file.source, name)
    try {
      return this.#readFile(file, secret)
    } catch (fault) {
      this.wrong(path, `cannot read ${file}: ${faultText(fault)}`)
      return undefined
    }
  }
}

function parsed(parse: (text: string) => readonly (JwtKey | string)[] | string, text: string) {
  try {
    return parse(text)
  } catch (fault) {
    return (fault as Error).message
  }
}
