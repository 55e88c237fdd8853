// The properties that `-D COMMAND NAME VALUE` can set (MQTT 5.0, table 2-4), by mqtt-packet's names for them.
const message = {
  'payload-format-indicator': ['payloadFormatIndicator', 'flag'],
  'message-expiry-interval': ['messageExpiryInterval', 'u32'],
  'content-type': ['contentType', 'text'],
  'response-topic': ['responseTopic', 'text'],
  'correlation-data': ['correlationData', 'binary'],
  'user-property': ['userProperties', 'pair'],
} as const
const userOnly = { 'user-property': ['userProperties', 'pair'] } as const
const table = {
  connect: {
    'session-expiry-interval': ['sessionExpiryInterval', 'u32'],
    'receive-maximum': ['receiveMaximum', 'u16'],
    'maximum-packet-size': ['maximumPacketSize', 'u32'],
    'request-problem-information': ['requestProblemInformation', 'flag'],
    'request-response-information': ['requestResponseInformation', 'flag'],
    ...userOnly,
  },
  publish: { 'topic-alias': ['topicAlias', 'u16'], ...message },
  will: { 'will-delay-interval': ['willDelayInterval', 'u32'], ...message },
  subscribe: { 'subscription-identifier': ['subscriptionIdentifier', 'varint'], ...userOnly },
  unsubscribe: userOnly,
  disconnect: { 'session-expiry-interval': ['sessionExpiryInterval', 'u32'], ...userOnly },
} as const

export type PropertyCommand = keyof typeof table
type Kind = 'flag' | 'u16' | 'u32' | 'varint' | 'text' | 'binary' | 'pair'

/** Properties for one kind of packet, by the names of mqtt-packet. */
export type Properties = Record<string, unknown>

/** The properties of each kind of packet. */
export type PropertySets = Partial<Record<PropertyCommand, Properties>>

const ranges = { flag: [0, 1], u16: [1, 65_535], u32: [0, 4_294_967_295], varint: [1, 268_435_455] } as const

/**
 * Reads the words of all `-D` together: `publish content-type text/plain publish user-property name value`.
 * @throws Error whose message says what is wrong.
 */
export function parseProperties(words: readonly string[], allowed: readonly PropertyCommand[]): PropertySets {
  const sets: PropertySets = {}
  for (let at = 0; at < words.length;) {
    const [command, name, value, second] = words.slice(at, at + 4)
    if (!isOneOf(allowed, command)) throw new Error(`"${command}" is not one of ${allowed.join(', ')}`)
    const known: Record<string, readonly [string, Kind]> = table[command]
    const property = name !== undefined && Object.hasOwn(known, name) ? known[name] : undefined
    if (!property) throw new Error(`${command} has no property "${name ?? ''}", only ${Object.keys(known).join(', ')}`)
    if (value === undefined) throw new Error(`${command} ${name} needs a value`)
    const set = (sets[command] ??= {})
    const [key, kind] = property
    at += 3
    if (kind !== 'pair') {
      set[key] = propertyValue(kind, value, `${command} ${name}`)
    } else {
      if (second === undefined) throw new Error(`${command} ${name} needs a name and a value`)
      at++
      // A name may be given again, and a name may be "__proto__".
      const pairs = (set[key] ??= Object.create(null)) as Record<string, string[]>
      ;(pairs[value] ??= []).push(second)
    }
  }
  return sets
}

function propertyValue(kind: Exclude<Kind, 'pair'>, text: string, what: string): unknown {
  if (kind === 'text') return text
  if (kind === 'binary') return Buffer.from(text)
  const [least, most] = ranges[kind]
  const value = Number(text)
  if (!/^[0-9]+$/.test(text) || value < least || value > most) {
    throw new Error(`${what} is a whole number from ${least} to ${most}, not "${text}"`)
  }
  return kind === 'flag' ? value === 1 : value
}

function isOneOf<T extends string>(list: readonly T[], text: string | undefined): text is T {
  return list.includes(text as T)
}
