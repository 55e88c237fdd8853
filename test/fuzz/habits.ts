import { Denied, type Hooks } from '../../src/access/hooks.ts'
import { compileRules, type Rule } from '../../src/access/rules.ts'
import type { Rulebook } from '../../src/broker/entitling.ts'
import { defaultLimits, type Limits } from '../../src/broker/limits.ts'
import type { Rates } from '../../src/broker/rates.ts'

/** A broker as it may be configured: what its limits are, and who else has a say. */
export interface Habits {
  readonly name: string
  readonly limits: Limits
  readonly hooks: Hooks
  /** Do the hooks answer later? */
  readonly later: boolean
  readonly rulebook?: Rulebook
  readonly rates?: Rates
  /** Is what must outlive the process on a disk? */
  readonly disk?: true
}

/** Everything is over within this time, once the clients are gone. */
export const lifetimeMs = 11_000

const quick: Limits = {
  ...defaultLimits,
  packetBytes: 100_000,
  connectSeconds: 3,
  hookSeconds: 2,
  stallSeconds: 5,
  keepAliveSeconds: 20,
  sessionExpirySeconds: 8,
  sysSeconds: 0,
}

const tight: Limits = {
  ...quick,
  packetBytes: 2000,
  packetBytesBeforeConnect: 500,
  clientIdBytes: 30,
  userProperties: 3,
  userPropertyBytes: 40,
  subscriptionsPerSession: 4,
  topicAliases: 2,
  receiveMaximum: 3,
  inflightMessages: 2,
  queueMessages: 4,
  queueBytes: 1500,
  queueBytesTotal: 4000,
  unsentBytes: 300,
  retainedMessages: 3,
  retainedBytes: 600,
}

/** Says no to what looks like it, and knows any method in two steps. */
const opinions: Hooks = {
  authenticate: ({ username }) => username !== '',
  authorizePublish(_client, { topic, will }) {
    if (topic.length === 1 && will) throw new Denied()
    return !topic.startsWith('x')
  },
  authorizeSubscribe: (_client, { filter }) => !filter.startsWith('x'),
  exchange(_client, { step, data }) {
    if (data?.length === 1) throw new Denied()
    return { done: step !== 'connect', data: Uint8Array.of(1, 2) }
  },
}

/** The same, said later, and sometimes never. */
const slowly: Hooks = {
  authenticate: (client) =>
    client.id === 'n' ? new Promise(() => {}) : Promise.resolve(opinions.authenticate!(client, undefined)),
  authorizePublish: async (client, request) => opinions.authorizePublish!(client, request),
  authorizeSubscribe: async (client, request) => opinions.authorizeSubscribe!(client, request),
  exchange: async (client, step) => opinions.exchange!(client, step),
}

const deny = (action: Rule['actions'][number], topic: string): Rule => {
  return { effect: 'deny', who: { everybody: true }, actions: [action], topics: [topic] }
}
/** Topics that nobody may be sent, and that nobody may publish to or retain. */
export const forbidden = { receive: ['t/2', 'r/1/x'], publish: ['al/2', 'job/5'], retain: ['r/2', '$r'] } as const

const rules: readonly Rule[] = [
  {
    ...deny('publish', '#'),
    effect: 'allow',
    actions: ['publish', 'subscribe', 'receive', 'retain', 'will', 'shared'],
  },
  ...Object.entries(forbidden).flatMap(([action, topics]) => topics.map((topic) => deny(action as 'publish', topic))),
  deny('will', 'w'),
  deny('shared', 'r/#'),
  deny('subscribe', '+/1'),
]

/** Messages that a connection may send at once, and in a second. */
export const allowance = { burst: 3, perSecond: 2 } as const

export const habits: readonly Habits[] = [
  { name: 'plain', limits: quick, hooks: {}, later: false },
  { name: 'tight', limits: tight, hooks: {}, later: false },
  { name: 'with hooks', limits: quick, hooks: opinions, later: false },
  { name: 'tight, with hooks that answer later', limits: tight, hooks: slowly, later: true },
  {
    name: 'with rules',
    limits: quick,
    hooks: {},
    later: false,
    rulebook: { policies: [compileRules(rules)], named: (user) => ({ user }) },
  },
  {
    name: 'with rates',
    limits: quick,
    hooks: {},
    later: false,
    rates: { client: { messages: allowance }, user: {}, over: 'refuse' },
  },
  { name: 'on a disk', limits: quick, hooks: {}, later: false, disk: true },
]
