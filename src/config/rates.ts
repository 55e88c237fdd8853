import { z } from 'zod'
import { type ConnectionRateLimits, defaultConnectionRates } from '../access/connection-rates.ts'
import type { SendingRates } from '../access/message-rates.ts'
import type { Rate } from '../access/token-bucket.ts'
import { object } from './object.ts'

const wholeNumber = (most: number): z.ZodType<number> => {
  const message = `must be a whole number from 1 to ${most}`
  return z.int(message).min(1, message).max(most, message)
}
const messages = wholeNumber(1_000_000_000)
const bytes = wholeNumber(2 ** 40)

const sendingShape = {
  messagesPerSecond: messages.optional(),
  messagesBurst: messages.optional(),
  bytesPerSecond: bytes.optional(),
  bytesBurst: bytes.optional(),
}

export const sendingKeys = Object.keys(sendingShape)

/** What one may send: messages, bytes, or both. A burst is what a second brings, unless it is given. */
export const sendingSchema = object(sendingShape, 'a map with messagesPerSecond or bytesPerSecond').transform(
  (given, context): SendingRates => {
    const rateOf = (unit: 'messages' | 'bytes'): Rate | undefined => {
      const [perSecond, burst] = [given[`${unit}PerSecond`], given[`${unit}Burst`]]
      if (perSecond !== undefined) return { perSecond, burst: burst ?? perSecond }
      if (burst !== undefined)
        context.addIssue({ code: 'custom', path: [`${unit}Burst`], message: `needs ${unit}PerSecond beside it` })
      return undefined
    }
    // A misspelt key is the better complaint.
    if (Object.keys(given).length === 0 && context.issues.length === 0)
      context.addIssue('must say how much, or be left out')
    const [ofMessages, ofBytes] = [rateOf('messages'), rateOf('bytes')]
    return { ...(ofMessages && { messages: ofMessages }), ...(ofBytes && { bytes: ofBytes }) }
  },
)

const connectionsShape = {
  atOnce: wholeNumber(1_000_000).default(defaultConnectionRates.atOnce),
  perSecond: wholeNumber(1_000_000).default(defaultConnectionRates.perSecond),
}

/** Connections of an address, or of a /64 of IPv6. */
const connectionsSchema = object(connectionsShape, 'a map with atOnce or perSecond')

const ratesShape = {
  client: sendingSchema.default({}),
  user: sendingSchema.default({}),
  over: z.enum(['slow', 'refuse'], 'must be slow or refuse').default('slow'),
  connections: connectionsSchema.optional(),
}

export const ratesSchema = object(ratesShape, 'a map with client, user, over or connections')

/** Keys that may stand at `path` within `rates`. */
export function rateKeysAt(path: readonly PropertyKey[]): readonly string[] {
  if (path.length === 1) return Object.keys(ratesShape)
  return path[1] === 'connections' ? Object.keys(connectionsShape) : sendingKeys
}

/** @param given the `connections` of a file's `rates` */
export function connectionRatesOf(given: z.output<typeof connectionsSchema> | undefined): ConnectionRateLimits {
  return { ...defaultConnectionRates, ...given }
}
