import { userProperties, type Received } from './message.ts'

// mosquitto_sub's -F: `%t %p\n`. Parsed once into parts; a part is a fixed text, or makes one out of each message.

/** What a part makes of a message. Undefined: the payload is not the JSON that the part asks for. */
type Part = (message: Received) => string | Buffer | undefined

/** A parsed format: gives the pieces of a message's text, in order. Pieces that a client chose are marked. */
export interface Format {
  readonly parts: readonly { readonly make: Part; readonly foreign: boolean }[]
}

const property =
  (name: string): Part =>
  ({ packet }) => {
    const value = (packet.properties as Record<string, unknown> | undefined)?.[name]
    if (Buffer.isBuffer(value)) return value
    if (typeof value === 'boolean') return value ? '1' : '0'
    return Array.isArray(value) ? value.join(' ') : ((value as string | number | undefined)?.toString() ?? '')
  }

const fields: Record<string, Part> = {
  t: ({ topic }) => topic,
  p: ({ payload }) => payload,
  q: ({ packet }) => String(packet.qos),
  r: ({ packet }) => (packet.retain ? '1' : '0'),
  l: ({ payload }) => String(payload.length),
  m: ({ packet }) => String(packet.messageId ?? 0),
  x: ({ payload }) => payload.toString('hex'),
  X: ({ payload }) => payload.toString('hex').toUpperCase(),
  I: ({ at }) => `${day(at)}T${time(at)}${offset(at)}`,
  U: ({ at }) => `${Math.floor(at.getTime() / 1000)}.${nanoseconds(at)}`,
  j: (message) => record(message, message.payload.length === 0 ? 'null' : JSON.stringify(message.payload.toString())),
  J: (message) => {
    const payload = message.payload.length === 0 ? 'null' : message.payload.toString()
    return isJson(payload) ? record(message, payload.replace(spaceInJson, '$1')) : undefined
  },
  A: property('topicAlias'),
  C: property('contentType'),
  D: property('correlationData'),
  E: property('messageExpiryInterval'),
  F: property('payloadFormatIndicator'),
  P: (message) =>
    userProperties(message)
      .map(([name, value]) => `${name}:${value}`)
      .join(' '),
  R: property('responseTopic'),
  S: property('subscriptionIdentifier'),
}
const chosenByClient = new Set('tpjJCDPR')
// What mosquitto_sub pads with zeros, pads at all, and cuts.
const zeroPadded = new Set('AEFlmSxX')
const wide = new Set('ACEFIlmpRStxX')
const cut = new Set('CIRt')

const escapes: Record<string, string> = {
  '\\': '\\',
  '0': '\0',
  a: '\x07',
  e: '\x1b',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
}

// `@Y` and its like: what strftime(3) makes of the time of arrival.
const times: Record<string, (at: Date) => string> = {
  '@': () => '@',
  Y: (at) => String(at.getFullYear()),
  m: (at) => two(at.getMonth() + 1),
  d: (at) => two(at.getDate()),
  H: (at) => two(at.getHours()),
  M: (at) => two(at.getMinutes()),
  S: (at) => two(at.getSeconds()),
  F: day,
  T: time,
  s: (at) => String(Math.floor(at.getTime() / 1000)),
  z: offset,
  N: nanoseconds,
}

/** Parses a format. @throws Error whose message names what is unknown in it. */
export function parseFormat(text: string): Format {
  const parts: { make: Part; foreign: boolean }[] = []
  const fixed = (literal: string): void => void parts.push({ make: () => literal, foreign: false })
  const piece = /%([-0]*)([0-9]*)(?:\.([0-9]+))?(.)|@(.)|\\(.)|[^%@\\]+|(.)/gsu
  for (const [whole, flags = '', width, most, field, timeField, escape, trailing] of text.matchAll(piece)) {
    if (trailing !== undefined) throw new Error(`"${trailing}" at the end says nothing`)
    if (escape !== undefined) fixed(found(escapes, escape, whole))
    else if (timeField !== undefined) {
      const format = found(times, timeField, whole)
      parts.push({ make: ({ at }) => format(at), foreign: false })
    } else if (field === '%') fixed('%')
    else if (field !== undefined) {
      const make = found(fields, field, whole)
      const fit = padded(
        wide.has(field) ? Number(width) : 0,
        cut.has(field) && most !== undefined ? Number(most) : Infinity,
        flags.includes('-'),
        flags.includes('0') && zeroPadded.has(field),
      )
      const shaped = width || most !== undefined
      parts.push({ make: shaped ? (message) => fit(make(message)) : make, foreign: chosenByClient.has(field) })
    } else fixed(whole)
  }
  return { parts }
}

function found<T>(table: Record<string, T>, key: string, whole: string): T {
  const entry = Object.hasOwn(table, key) ? table[key] : undefined
  if (entry === undefined) throw new Error(`"${whole}" is unknown`)
  return entry
}

// Bytes that need no padding stay bytes: they may be no UTF-8.
function padded(
  least: number,
  most: number,
  left: boolean,
  zero: boolean,
): (value: string | Buffer | undefined) => string | Buffer | undefined {
  return (value) => {
    if (value === undefined || (value.length >= least && value.length <= most)) return value
    const text = value.toString().slice(0, most)
    return left ? text.padEnd(least) : text.padStart(least, zero ? '0' : ' ')
  }
}

// mosquitto_sub's names, in the order in which the properties came.
const recorded = new Map([
  ['contentType', 'content-type'],
  ['userProperties', 'user-properties'],
  ['correlationData', 'correlation-data'],
  ['responseTopic', 'response-topic'],
  ['payloadFormatIndicator', 'payload-format-indicator'],
  ['messageExpiryInterval', 'message-expiry-interval'],
])

function record(message: Received, payload: string): string {
  const { topic, packet, at } = message
  const properties = Object.entries(packet.properties ?? {}).flatMap(([key, value]) => {
    const name = recorded.get(key)
    if (name === undefined) return []
    if (key === 'userProperties') return [[name, Object.fromEntries(userProperties(message))]]
    return [[name, Buffer.isBuffer(value) ? value.toString() : typeof value === 'boolean' ? Number(value) : value]]
  })
  const head = {
    tst: `${day(at)}T${time(at)}.${nanoseconds(at).slice(0, 6)}${offset(at)}`,
    topic,
    qos: packet.qos,
    retain: packet.retain ? 1 : 0,
    payloadlen: message.payload.length,
    mid: packet.messageId || undefined,
    properties: properties.length > 0 ? (Object.fromEntries(properties) as object) : undefined,
  }
  return `${JSON.stringify(head).slice(0, -1)},"payload":${payload}}`
}

// Space between the tokens of JSON; strings are kept as they are, and so are numbers that JavaScript would round.
const spaceInJson = /("(?:[^"\\]|\\.)*")|\s+/g

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}

function day(at: Date): string {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
}

function time(at: Date): string {
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

function nanoseconds(at: Date): string {
  return `${String(at.getMilliseconds()).padStart(3, '0')}000000`
}

function offset(at: Date): string {
  const minutes = -at.getTimezoneOffset()
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(Math.abs(minutes) / 60))}${two(Math.abs(minutes) % 60)}`
}
