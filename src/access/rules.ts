import { parseFilter } from '../mqtt/topic.ts'
import { covers, type Levels, levelsOf, matches, overlaps } from './coverage.ts'

// Rules as people write them, and what they say of one client and one topic.
//
//   Rule[] ──▶ Policy: stages ─▶ statements ─▶ patterns        a Mosquitto acl_file becomes one too
//                │
//                └▶ verdict(subject, topic): a bit for each action that is allowed, and for each that is denied

export const actions = ['publish', 'subscribe', 'receive', 'retain', 'will', 'shared'] as const
export type Action = (typeof actions)[number]

/** A bit for each action, so that several are asked at a time. */
export const Act = { publish: 1, subscribe: 2, receive: 4, retain: 8, will: 16, shared: 32 } as const
export const everyAction = 63

/** Whom a rule is for: any of those that are named. */
export interface Who {
  readonly everybody?: true
  /** Clients without a user name. */
  readonly anonymous?: true
  readonly users?: readonly string[]
  readonly groups?: readonly string[]
  readonly clientIds?: readonly string[]
}

/** Where a person finds a rule. */
export interface RulePlace {
  readonly source: string
  readonly line?: number
  readonly column?: number
}

export interface Rule {
  readonly effect: 'allow' | 'deny'
  readonly who: Who
  readonly actions: readonly Action[]
  /** Topic filters; a whole level may be %c, the client id, or %u, the user name. */
  readonly topics: readonly string[]
  readonly place?: RulePlace
}

/** Who asks, as rules see it. */
export interface Subject {
  /** Undefined or empty: anonymous. */
  readonly user: string | undefined
  readonly groups: readonly string[]
  readonly clientId: string
}

/** Topics of a statement: a filter that may have holes. */
export interface Pattern {
  readonly text: string
  readonly levels: Levels
  /** Levels that have %c or %u in them. */
  readonly holes: readonly number[]
}

/** One thing that a policy says. */
export interface Statement {
  readonly allows: boolean
  readonly actions: number
  readonly patterns: readonly Pattern[]
  readonly applies: (subject: Subject) => boolean
  /** As a person would say it. */
  readonly text: string
  readonly place: RulePlace | undefined
}

export interface Policy {
  /** The first stage that has a say in an action decides it; within a stage a denial wins. */
  readonly stages: readonly (readonly Statement[])[]
  /** Actions that are allowed whatever the topic. */
  readonly always: number
}

/** What a statement may be held against: does it say something of this topic, or of this filter? */
export type Test = (filter: Levels) => boolean

export function ofTopic(topic: Levels): Test {
  return (filter) => matches(filter, topic)
}

/** A rule says something of a filter when it covers all of it: of a part, it says it when messages come. */
export function ofWhole(narrow: Levels): Test {
  return (filter) => covers(filter, narrow)
}

export function ofPart(other: Levels): Test {
  return (filter) => overlaps(filter, other)
}

export function compileRules(rules: readonly Rule[]): Policy {
  return { stages: [rules.map(statementOf)], always: 0 }
}

/** Two sets of actions in one number: what is allowed, and from the ninth bit on what is denied; `granted` has the last word. */
export function verdict(policy: Policy, subject: Subject, test: Test): number {
  let allowed = policy.always
  let denied = 0
  for (const stage of policy.stages) {
    const open = everyAction & ~(allowed | denied)
    if (open === 0) break
    let yes = 0
    let no = 0
    for (const statement of stage) {
      // Denied stays denied, and what is allowed already can only be denied.
      const news = statement.actions & open & ~(statement.allows ? yes | no : no)
      if (news === 0 || !says(statement, subject, test)) continue
      if (statement.allows) yes |= news
      else no |= news
    }
    allowed |= yes
    denied |= no
  }
  return allowed | (denied << 8)
}

/** What is left of a verdict, or of several joined by `|`: a denial wins. */
export function granted(verdicts: number): number {
  return verdicts & ~(verdicts >> 8) & everyAction
}

export function says(statement: Statement, subject: Subject, test: Test): boolean {
  if (!statement.applies(subject)) return false
  for (const pattern of statement.patterns) {
    const filter = filled(pattern, subject)
    if (filter !== undefined && test(filter)) return true
  }
  return false
}

/**
 * Checks a topic of a rule.
 * @throws Error that says what is wrong with it, MqttError where the standard says so
 */
export function checkTopic(text: string): string {
  if (parseFilter(text).group !== undefined || text.startsWith('$share/'))
    throw new Error('a rule is about topics, and "shared" is an action: leave out $share/<group>/')
  for (const level of levelsOf(text))
    if (hole.test(level) && level.length > 2) throw new Error(`%c and %u must fill a whole level, unlike in "${level}"`)
  return text
}

export function patternOf(text: string): Pattern {
  const levels = levelsOf(text)
  return { text, levels, holes: levels.flatMap((level, at) => (hole.test(level) ? [at] : [])) }
}

const hole = /%[cu]/
const holesOf = /%[cu]/g

/**
 * The filter of a pattern for one client. Undefined when what goes in could change what the filter means: it is empty, has
 * a wildcard, a slash or a control character, or opens the topics that begin with "$" to a filter that does not.
 */
export function filled({ levels, holes }: Pattern, subject: Subject): Levels | undefined {
  if (holes.length === 0) return levels
  const filter = levels.slice()
  for (const at of holes) {
    const level = filledLevel(levels[at]!, subject)
    if (level === undefined || (at === 0 && level.startsWith('$') && !levels[0]!.startsWith('$'))) return undefined
    filter[at] = level
  }
  return filter
}

function filledLevel(level: string, { clientId, user = '' }: Subject): string | undefined {
  // A whole level, as our own rules have it, needs no search.
  if (level === '%c') return isPlain(clientId) ? clientId : undefined
  if (level === '%u') return isPlain(user) ? user : undefined
  if (level.includes('%c') && !isPlain(clientId)) return undefined
  if (level.includes('%u') && !isPlain(user)) return undefined
  // In one go: what goes in is not looked at again.
  return level.replace(holesOf, (which) => (which === '%c' ? clientId : user))
}

function isPlain(value: string): boolean {
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at)
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x23 || code === 0x2b || code === 0x2f) return false
  }
  return value !== ''
}

/** Statements that say nothing for this client, as its id or name cannot stand in their topics. */
export function* unusable(policy: Policy, subject: Subject): Generator<readonly [Statement, Pattern]> {
  for (const statement of policy.stages.flat()) {
    if (!statement.applies(subject)) continue
    for (const pattern of statement.patterns) if (filled(pattern, subject) === undefined) yield [statement, pattern]
  }
}

export function isAnonymous({ user }: Subject): boolean {
  return user === undefined || user === ''
}

function statementOf(rule: Rule): Statement {
  return {
    allows: rule.effect === 'allow',
    actions: rule.actions.reduce((bits, action) => bits | Act[action], 0),
    patterns: rule.topics.map(patternOf),
    applies: appliesTo(rule.who),
    text: `${rule.effect} ${rule.actions.join(', ')} on ${rule.topics.join(', ')} for ${whoText(rule.who)}`,
    place: rule.place,
  }
}

function appliesTo(who: Who): (subject: Subject) => boolean {
  if (who.everybody) return () => true
  const users = new Set(who.users)
  const groups = new Set(who.groups)
  const clientIds = new Set(who.clientIds)
  return (subject) => {
    if (isAnonymous(subject)) {
      if (who.anonymous) return true
    } else if (users.has(subject.user!)) return true
    return clientIds.has(subject.clientId) || (groups.size > 0 && subject.groups.some((group) => groups.has(group)))
  }
}

function whoText(who: Who): string {
  if (who.everybody) return 'everybody'
  const named = (name: string, list: readonly string[] | undefined): string[] =>
    list === undefined || list.length === 0 ? [] : [`${name}${list.length > 1 ? 's' : ''} ${list.join(', ')}`]
  return [
    ...(who.anonymous ? ['anonymous clients'] : []),
    ...named('user', who.users),
    ...named('group', who.groups),
    ...named('client id', who.clientIds),
  ].join(' or ')
}
