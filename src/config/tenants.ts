import { z } from 'zod'
import type { TenantBook, TenantTerms } from '../broker/tenants.ts'
import { isTenantName, tenantNameRule } from '../mqtt/tenant-name.ts'
import { object } from './object.ts'
import { sendingKeys, sendingSchema } from './rates.ts'

const wholeNumber = (least: number, most: number) => {
  const message = `must be a whole number from ${least} to ${most}`
  return z.int(message).min(least, message).max(most, message)
}
const count = (least: number) => wholeNumber(least, 1_000_000_000).optional()

const termsShape = {
  connections: count(1),
  sessions: count(1),
  subscriptions: count(0),
  retainedMessages: count(0),
  retainedBytes: wholeNumber(0, 2 ** 40).optional(),
  rates: sendingSchema.optional(),
}

/** What a tenant may have; where nothing is said, what the limits of the broker leave it. */
const termsSchema = object(termsShape, `a map with ${Object.keys(termsShape).join(', ')}`).transform(
  (given): TenantTerms => ({
    connections: given.connections ?? Infinity,
    sessions: given.sessions ?? Infinity,
    subscriptions: given.subscriptions ?? Infinity,
    retained: { messages: given.retainedMessages ?? Infinity, bytes: given.retainedBytes ?? Infinity },
    rates: given.rates ?? {},
  }),
)

const others = '*'

const name = z.string().refine((text) => text === others || isTenantName(text))

const wrong: z.core.$ZodErrorMap = ({ code }) => {
  if (code === 'invalid_key') return `must be ${tenantNameRule}, or "*" for all that have no entry`
  return code === 'invalid_type' ? 'must be a map of tenants' : undefined
}

/** Tenants by name. An empty map is refused: nobody should have to know whether it means none or all. */
export const tenantsSchema = z
  .record(name, termsSchema, { error: wrong })
  .refine((map) => Object.keys(map).length > 0, 'must name a tenant, or be left out')
  .transform((map): TenantBook => {
    const named = new Map(Object.entries(map))
    const terms = named.get(others)
    named.delete(others)
    return { named, others: terms }
  })

/** Keys that may stand at `path` within `tenants`. */
export function tenantKeysAt(path: readonly PropertyKey[]): readonly string[] {
  return path.length === 2 ? Object.keys(termsShape) : sendingKeys
}
