import { isTenantName, tenantNameRule } from '../mqtt/tenant-name.ts'
import { type Identity, isName, type Source } from './identity.ts'
import { type Action, actions, checkTopic, type Rule } from './rules.ts'

// What somebody whom we trust says of a user, in JSON: the claims of a token, the answer of an HTTP hook. What is not as it
// should be is a refusal and never left out: a rule that denies could be what is missing then.

/** Said of a user, and not checked yet. */
export interface Said {
  readonly user: unknown
  readonly tenant?: unknown
  readonly groups?: unknown
  readonly permissions?: unknown
  readonly expiresAt?: unknown
}

const mostGroups = 100
const mostRules = 200

/** @param place for rules, to be named when one of them decides. @returns what is wrong, as text */
export function identityOf(said: Said, source: Source, place: string): Identity | string {
  const { user, tenant, groups, permissions, expiresAt } = said
  if (!isName(user)) return 'the user is no name'
  if (tenant !== undefined && !isTenantName(tenant)) return `the tenant is no name: ${tenantNameRule}`
  if (groups !== undefined && !isList(groups, mostGroups, isName)) return 'the groups are no list of names'
  if (expiresAt !== undefined && !(typeof expiresAt === 'number' && Number.isFinite(expiresAt)))
    return 'the end is no time in seconds'
  const rules = permissions === undefined ? undefined : rulesOf(permissions, place)
  if (typeof rules === 'string') return rules
  return {
    user,
    source,
    ...(tenant !== undefined && { tenant }),
    ...(groups !== undefined && { groups }),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(rules && { permissions: rules }),
  }
}

/** `[{ effect: 'allow', actions: ['publish'], topics: ['a/%c/#'] }]`, for this user alone. */
function rulesOf(value: unknown, source: string): readonly Rule[] | string {
  if (!Array.isArray(value) || value.length > mostRules)
    return `the permissions are no list of up to ${mostRules} rules`
  const rules: Rule[] = []
  for (const [at, given] of value.entries()) {
    const rule = ruleOf(given, `${source}, rule ${at + 1}`)
    if (!rule) return `rule ${at + 1} of the permissions is none`
    rules.push(rule)
  }
  return rules
}

function ruleOf(given: unknown, source: string): Rule | undefined {
  if (typeof given !== 'object' || given === null) return undefined
  const { effect, actions, topics, ...more } = given as Readonly<Record<string, unknown>>
  if (effect !== 'allow' && effect !== 'deny') return undefined
  // A key that we do not know may limit the rule.
  if (Object.keys(more).length > 0 || !isList(actions, 6, isAction) || !isList(topics, mostRules, isTopic))
    return undefined
  if (actions.length === 0 || topics.length === 0) return undefined
  return { effect, who: { everybody: true }, actions, topics, place: { source } }
}

function isAction(value: unknown): value is Action {
  return (actions as readonly unknown[]).includes(value)
}

function isTopic(value: unknown): value is string {
  if (typeof value !== 'string') return false
  try {
    checkTopic(value)
    return true
  } catch {
    return false
  }
}

function isList<T>(value: unknown, most: number, is: (item: unknown) => item is T): value is readonly T[] {
  return Array.isArray(value) && value.length <= most && value.every(is)
}
