import { parseFilter } from '../mqtt/topic.ts'
import { isHole, isUsable, levelsOf, type Pattern, patternOf, type Subject } from './placeholders.ts'
import { type Asked, joined, RuleTree } from './rule-tree.ts'

// Rules as people write them, and what they say of one client and one topic.
//
//   Rule[] ──▶ Policy: stages ─▶ trees ─▶ statements           a Mosquitto acl_file becomes one too
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
  /** Nobody who has a wildcard in its id or user name. */
  readonly plain?: true
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

/** One thing that a policy says. */
export interface Statement {
  readonly allows: boolean
  readonly actions: number
  readonly patterns: readonly Pattern[]
  readonly who: Who
  /** As a person would say it. */
  readonly text: string
  readonly place: RulePlace | undefined
}

export interface Policy {
  /** The first stage that has a say in an action decides it. */
  readonly stages: readonly Stage[]
  /** Actions that are allowed whatever the topic. */
  readonly always: number
}

/**
 * Statements among which a denial wins, by whom they are for and then by topic: thousands of them that are about others, or
 * about other topics, cost nothing.
 */
export class Stage {
  readonly statements: readonly Statement[]
  // Undefined: for none of these. Rules that a token brings are for everybody, that is for its own client.
  #everybody: Trees | undefined = undefined
  #plain: Trees | undefined = undefined
  #anonymous: Trees | undefined = undefined
  #users: TreesByName | undefined = undefined
  #groups: TreesByName | undefined = undefined
  #clientIds: TreesByName | undefined = undefined

  constructor(statements: readonly Statement[]) {
    this.statements = statements
    const trees = new Map<string, RuleTree<Statement>>()
    for (const statement of statements) {
      const same = JSON.stringify(statement.who)
      let tree = trees.get(same)
      if (!tree) {
        trees.set(same, (tree = new RuleTree()))
        this.#plant(tree, statement.who)
      }
      for (const pattern of statement.patterns) tree.add(pattern, statement)
    }
  }

  /** What is said, to this client, of all topics that a filter matches; some of it perhaps twice. */
  covering(asked: Asked, subject: Subject): Statement[] {
    const found: Statement[] = []
    this.#each(subject, (tree) => tree.covering(asked, subject, found))
    return found
  }

  /** The same of any of these topics. */
  overlapping(asked: Asked, subject: Subject): Statement[] {
    const found: Statement[] = []
    this.#each(subject, (tree) => tree.overlapping(asked, subject, found))
    return found
  }

  #plant(tree: RuleTree<Statement>, { everybody, plain, anonymous, users, groups, clientIds }: Who): void {
    if (everybody && plain) this.#plain = joined(this.#plain, tree)
    else if (everybody) this.#everybody = joined(this.#everybody, tree)
    if (everybody) return
    if (anonymous) this.#anonymous = joined(this.#anonymous, tree)
    if (users) plant(tree, users, (this.#users ??= new Map<string, Trees>()))
    if (groups) plant(tree, groups, (this.#groups ??= new Map<string, Trees>()))
    if (clientIds) plant(tree, clientIds, (this.#clientIds ??= new Map<string, Trees>()))
  }

  #each(subject: Subject, look: (tree: RuleTree<Statement>) => void): void {
    this.#everybody?.forEach(look)
    if (this.#plain !== undefined && hasNoWildcard(subject)) this.#plain.forEach(look)
    if (isAnonymous(subject)) this.#anonymous?.forEach(look)
    else this.#users?.get(subject.user!)?.forEach(look)
    this.#clientIds?.get(subject.clientId)?.forEach(look)
    if (this.#groups !== undefined) for (const group of subject.groups) this.#groups.get(group)?.forEach(look)
  }
}

type Trees = RuleTree<Statement>[]
type TreesByName = Map<string, Trees>

function plant(tree: RuleTree<Statement>, names: readonly string[], byName: TreesByName): void {
  for (const name of names) byName.set(name, joined(byName.get(name), tree))
}

export function compileRules(rules: readonly Rule[]): Policy {
  return { stages: [new Stage(rules.map(statementOf))], always: 0 }
}

/** Two sets of actions in one number: what is allowed, and from the ninth bit on what is denied; `granted` has the last word. */
export function verdict(policy: Policy, subject: Subject, asked: Asked): number {
  let allowed = policy.always
  let denied = 0
  for (const stage of policy.stages) {
    const open = everyAction & ~(allowed | denied)
    if (open === 0) break
    let yes = 0
    let no = 0
    for (const { allows, actions } of stage.covering(asked, subject))
      if (allows) yes |= actions & open
      else no |= actions & open
    allowed |= yes
    denied |= no
  }
  return allowed | (denied << 8)
}

/** What is left of a verdict, or of several joined by `|`: a denial wins. */
export function granted(verdicts: number): number {
  return verdicts & ~(verdicts >> 8) & everyAction
}

/**
 * Checks a topic of a rule.
 * @throws Error that says what is wrong with it, MqttError where the standard says so
 */
export function checkTopic(text: string): string {
  if (parseFilter(text).group !== undefined || text.startsWith('$share/'))
    throw new Error('a rule is about topics, and "shared" is an action: leave out $share/<group>/')
  for (const level of levelsOf(text))
    if (isHole(level) && level.length > 2) throw new Error(`%c and %u must fill a whole level, unlike in "${level}"`)
  return text
}

/** Statements that say nothing for this client, as its id or name cannot stand in their topics. */
export function* unusable(policy: Policy, subject: Subject): Generator<readonly [Statement, Pattern]> {
  for (const statement of policy.stages.flatMap(({ statements }) => statements)) {
    if (!isFor(statement.who, subject)) continue
    for (const pattern of statement.patterns) if (!isUsable(pattern, subject)) yield [statement, pattern]
  }
}

function isAnonymous({ user }: Subject): boolean {
  return user === undefined || user === ''
}

function statementOf(rule: Rule): Statement {
  return {
    allows: rule.effect === 'allow',
    actions: rule.actions.reduce((bits, action) => bits | Act[action], 0),
    patterns: rule.topics.map(patternOf),
    who: rule.who,
    text: `${rule.effect} ${rule.actions.join(', ')} on ${rule.topics.join(', ')} for ${whoText(rule.who)}`,
    place: rule.place,
  }
}

function isFor({ everybody, plain, anonymous, users, groups, clientIds }: Who, subject: Subject): boolean {
  const { user, clientId } = subject
  if (everybody) return !plain || hasNoWildcard(subject)
  return (
    (isAnonymous(subject) ? anonymous === true : users?.includes(user!) === true) ||
    clientIds?.includes(clientId) === true ||
    subject.groups.some((group) => groups?.includes(group))
  )
}

function hasNoWildcard({ clientId, user = '' }: Subject): boolean {
  return !/[+#]/.test(clientId) && !/[+#]/.test(user)
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
