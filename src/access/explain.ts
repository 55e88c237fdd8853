import { isUsable, type Subject } from './placeholders.ts'
import { Asked } from './rule-tree.ts'
import { Act, type Action, type Policy, type RulePlace, type Statement, unusable } from './rules.ts'

/** Why an action is allowed or not, for a person to read. */
export interface Explanation {
  readonly action: Action
  readonly allowed: boolean
  /** What has decided; undefined when nothing says anything. */
  readonly rule: Statement | undefined
  readonly why: string
}

/** What becomes of the messages that a subscription asks for. */
export interface Receiving {
  readonly delivered: 'all' | 'some' | 'none'
  readonly why: string
  readonly rules: readonly Statement[]
}

/**
 * May this be done on a topic, or may a filter be subscribed to? Asks the policies as `ClientPermissions` does, and tells which
 * rule has decided.
 * @param topic or a filter, without `$share/group/`
 */
export function explain(policies: readonly Policy[], subject: Subject, action: Action, topic: string): Explanation {
  if (policies.length === 0) return { action, allowed: true, rule: undefined, why: noRules }
  const said = policies.flatMap((policy) => deciding(policy, subject, Act[action], new Asked(topic)) ?? [])
  const rule = said.find(({ allows }) => !allows) ?? said[0]
  if (rule)
    return { action, allowed: rule.allows, rule, why: `${rule.allows ? 'allowed' : 'denied'} by ${named(rule)}` }
  const always = policies.some((policy) => (policy.always & Act[action]) !== 0)
  return { action, allowed: always, rule: undefined, why: always ? alwaysSubscribes : 'no rule allows it' }
}

/** The statement that decides for a policy. */
function deciding(policy: Policy, subject: Subject, action: number, asked: Asked): Statement | undefined {
  if ((policy.always & action) !== 0) return undefined
  for (const stage of policy.stages) {
    const found = new Set(stage.covering(asked, subject))
    const said = stage.statements.filter((statement) => (statement.actions & action) !== 0 && found.has(statement))
    if (said.length > 0) return said.find(({ allows }) => !allows) ?? said[0]
  }
  return undefined
}

/** Which messages of a subscription are delivered: each is asked for by its topic. */
export function explainReceiving(policies: readonly Policy[], subject: Subject, filter: string): Receiving {
  if (policies.length === 0) return { delivered: 'all', why: noRules, rules: [] }
  const whole = explain(policies, subject, 'receive', filter)
  if (whole.rule && !whole.allowed) return { delivered: 'none', why: whole.why, rules: [whole.rule] }
  const asked = policies
    .flatMap(({ stages }) => stages)
    .flatMap((stage) => {
      const found = new Set(stage.overlapping(new Asked(filter), subject))
      return stage.statements.filter((statement) => (statement.actions & Act.receive) !== 0 && found.has(statement))
    })
  const denials = asked.filter(({ allows }) => !allows)
  const grants = asked.filter(({ allows }) => allows)
  if (grants.length === 0) return { delivered: 'none', why: 'no rule allows any of them', rules: [] }
  if (denials.length > 0)
    return { delivered: 'some', why: `some are kept back by ${denials.map(named).join(', and by ')}`, rules: denials }
  if (whole.rule) return { delivered: 'all', why: whole.why, rules: [whole.rule] }
  return { delivered: 'some', why: `only what is allowed by ${grants.map(named).join(', or by ')}`, rules: grants }
}

/** Rules that would be about this client, but cannot be: its id or user name would change what their topics mean. */
export function explainUnusable(policies: readonly Policy[], subject: Subject): string[] {
  return policies.flatMap((policy) =>
    [...unusable(policy, subject)].map(([statement, pattern]) => {
      const used = [
        ...(pattern.text.includes('%c') ? ['client id'] : []),
        ...(pattern.text.includes('%u') ? ['user name'] : []),
      ]
      const guilty =
        used.length === 1 ? used[0]! : isUsable(pattern, { ...subject, clientId: 'x' }) ? 'client id' : 'user name'
      const value = guilty === 'client id' ? subject.clientId : (subject.user ?? '')
      const what = value === '' ? `there is no ${guilty}` : `the ${guilty} ${JSON.stringify(value)} cannot stand`
      return `${placeText(statement.place)}${what} in ${pattern.text}, so that this topic ${statement.allows ? 'allows' : 'denies'} nothing`
    }),
  )
}

const noRules = 'there are no rules, so everything is allowed'
const alwaysSubscribes = 'an acl_file allows every subscription, and keeps back the messages that may not be read'

/** `godwit.yaml:12:5: deny receive on a/+/s for everybody` */
function named({ place, text }: Statement): string {
  return `${placeText(place)}${text}`
}

function placeText(place: RulePlace | undefined): string {
  if (place === undefined) return 'a rule of its token: '
  const { source, line, column } = place
  return `${source}${line === undefined ? '' : `:${line}`}${column === undefined ? '' : `:${column}`}: `
}
