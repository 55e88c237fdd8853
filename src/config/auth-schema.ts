import { z } from 'zod'
import { certificateNames } from '../access/certificate.ts'
import { isName } from '../access/identity.ts'
import { isLoopback } from './listener.ts'
import { object } from './object.ts'

/** Whom a node may ask, one after the other; this is their order where nobody chooses another. */
export const authOrder = ['users', 'mosquitto', 'jwt', 'certificate', 'http'] as const
export type AuthStep = (typeof authOrder)[number]

/** What becomes of a user who comes with the client id of another user's session. */
const sameClientIds = ['refuse', 'separate'] as const
export type SameClientId = (typeof sameClientIds)[number]

const fileName = z.string('must be a file name').min(1, 'must be a file name')
const text = z.string('must be a text').min(1, 'must not be empty')
const flag = z.boolean('must be true or false')
const whole = (least: number, most: number): z.ZodDefault<z.ZodType<number>> | z.ZodType<number> => {
  const message = `must be a whole number from ${least} to ${most}`
  return z.int(message).min(least, message).max(most, message)
}
const claim = z.string('must be the name of a claim').refine(isName, 'must be the name of a claim')

const mosquitto = object(
  { password_file: fileName.optional(), acl_file: fileName.optional() },
  'a map with password_file or acl_file',
)

const claims = object(
  { user: claim.optional(), tenant: claim.optional(), groups: claim.optional(), permissions: claim.optional() },
  'a map with names of claims',
)

const jwt = object(
  {
    key: fileName.optional(),
    jwks: fileName.optional(),
    secretFile: fileName.optional(),
    issuer: text,
    audience: text,
    claims: claims.optional(),
    leewaySeconds: whole(0, 300).optional(),
  },
  'a map with a key, an issuer and an audience',
)

const certificate = object(
  { user: z.enum(certificateNames, `must be ${certificateNames.join(', ')}`) },
  'a map with user: where its name stands',
)

const http = object(
  {
    // Looked at later: a complaint of a schema shows the value, which may hold a password.
    url: z.string('must be a URL like https://auth.example/mqtt'),
    allowPlaintext: flag.optional(),
    tokenFile: fileName.optional(),
    ca: fileName.optional(),
    timeoutMs: whole(100, 60_000).optional(),
    concurrency: whole(1, 1000).optional(),
    waiting: whole(0, 100_000).optional(),
    cacheSeconds: whole(0, 86_400).optional(),
    cacheEntries: whole(0, 1_000_000).optional(),
  },
  'a map with a url',
)

export const authSchema = object(
  {
    order: z.array(z.enum(authOrder, `must be ${authOrder.join(', ')}`), 'must be a list').optional(),
    users: fileName.optional(),
    mosquitto: mosquitto.optional(),
    jwt: jwt.optional(),
    certificate: certificate.optional(),
    scram: flag.optional(),
    http: http.optional(),
    sameClientId: z.enum(sameClientIds, `must be ${sameClientIds.join(' or ')}`).optional(),
  },
  'a map with users, mosquitto, jwt, certificate, scram or http',
)
export type FileAuth = z.output<typeof authSchema>

const maps: ReadonlyMap<PropertyKey, { readonly shape: object }> = new Map(
  Object.entries({ mosquitto, jwt, certificate, http, claims }),
)

/** Keys that may stand at `path` within `auth`. */
export function authKeysAt(path: readonly PropertyKey[]): readonly string[] {
  return Object.keys((maps.get(path.at(-1)!) ?? authSchema).shape)
}

/** Why passwords must not be sent to `url`; undefined: they may. Never shows it. */
export function urlFault(url: string, allowPlaintext: boolean): string | undefined {
  if (!URL.canParse(url)) return 'is no URL: write it like https://auth.example/mqtt'
  const { protocol, hostname, username, password } = new URL(url)
  if (protocol !== 'https:' && protocol !== 'http:') return 'must be https:// or http://'
  // This file is not one for its owner's eyes alone.
  if (username || password) return 'is no place for a password: name a file with tokenFile'
  if (protocol === 'https:' || allowPlaintext || isLoopback(hostname.replace(/^\[|\]$/g, ''))) return undefined
  return 'passwords would cross the network unencrypted: make it https://, or say allowPlaintext: true'
}
