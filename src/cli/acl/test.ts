import { type AclProblem, readAclFile } from '../../access/acl-file.ts'
import { explain, explainReceiving, explainUnusable, type Explanation, type Receiving } from '../../access/explain.ts'
import type { Subject } from '../../access/placeholders.ts'
import type { Action, Policy, Statement } from '../../access/rules.ts'
import { loadConfig } from '../../config/config.ts'
import { faultText } from '../../config/files.ts'
import { policiesOf } from '../../config/permissions.ts'
import { ConfigError } from '../../config/problem.ts'
import { parseFilter, parseTopicName } from '../../mqtt/topic.ts'
import type { AclTestFlags } from '../acl.ts'
import { usage } from '../flags.ts'
import { type Io, note } from '../io.ts'
import { readTextFile } from '../read-file.ts'
import { inert } from '../terminal.ts'

export interface Question {
  readonly user: string
  readonly action: 'pub' | 'sub'
  readonly topic: string
}

interface Answer {
  readonly allowed: boolean
  /** One for each action that must be allowed. */
  readonly decisions: readonly Explanation[]
  /** sub: which messages come. */
  readonly receiving: Receiving | undefined
}

interface Rules {
  readonly policies: readonly Policy[]
  readonly groups: readonly string[]
}

/** Writes whether somebody may do something, and why. @returns the answer */
export function testAccess(question: Question, flags: AclTestFlags, io: Io): boolean {
  const { policies, groups } = rulesFor(question.user, flags, io)
  const subject = { user: question.user, groups: [...groups, ...(flags.group ?? [])], clientId: flags.client ?? '' }
  const answer =
    question.action === 'pub'
      ? mayPublish(policies, subject, question, flags)
      : maySubscribe(policies, subject, question, flags)
  const unused = explainUnusable(policies, subject)
  if (flags.json) io.stdout.write(`${JSON.stringify(record(question, subject, answer, unused))}\n`)
  else {
    io.stdout.write(text(question, answer))
    for (const line of unused) note(io, `note: ${inert(line)}`)
  }
  return answer.allowed
}

/** The rules, and the groups that the users file has for the user. @throws ConfigError, or CliError when there are none */
function rulesFor(user: string, { config: name, aclFile }: AclTestFlags, { env }: Io): Rules {
  if (aclFile === undefined) {
    if (name === undefined && !env['GODWIT_CONFIG']) throw usage('which rules? --config FILE, or --acl-file FILE')
    const config = loadConfig({ flags: { config: name }, env, readFile: readTextFile })
    return { policies: policiesOf(config), groups: config.auth?.users?.users.get(user)?.groups ?? [] }
  }
  if (name !== undefined) throw usage('--config and --acl-file: which of them?')
  const problems: AclProblem[] = []
  let policy: Policy | undefined
  try {
    policy = readAclFile(aclFile, readTextFile(aclFile), problems)
  } catch (fault) {
    throw new ConfigError([{ source: '--acl-file', message: `cannot read ${aclFile}: ${faultText(fault)}` }])
  }
  if (policy) return { policies: [policy], groups: [] }
  throw new ConfigError(problems.map((problem) => ({ source: aclFile, column: 1, ...problem })))
}

function mayPublish(policies: readonly Policy[], subject: Subject, { topic }: Question, flags: AclTestFlags): Answer {
  const name = checked(parseTopicName, topic)
  if (/^\$(SYS|share)(\/|$)/.test(name)) {
    const why = 'topics under $SYS and $share belong to the broker'
    return {
      allowed: false,
      decisions: [{ action: 'publish', allowed: false, rule: undefined, why }],
      receiving: undefined,
    }
  }
  const asked: Action[] = [
    'publish',
    ...(flags.retain ? (['retain'] as const) : []),
    ...(flags.will ? (['will'] as const) : []),
  ]
  const decisions = asked.map((action) => explain(policies, subject, action, name))
  return { allowed: decisions.every(({ allowed }) => allowed), decisions, receiving: undefined }
}

function maySubscribe(policies: readonly Policy[], subject: Subject, { topic }: Question, flags: AclTestFlags): Answer {
  if (flags.retain || flags.will) throw usage('--retain and --will go with pub')
  const { filter, group } = checked(parseFilter, topic)
  const asked: Action[] = ['subscribe', ...(group === undefined ? [] : (['shared'] as const))]
  const decisions = asked.map((action) => explain(policies, subject, action, filter))
  const allowed = decisions.every((decision) => decision.allowed)
  return { allowed, decisions, receiving: allowed ? explainReceiving(policies, subject, filter) : undefined }
}

function checked<T>(parse: (text: string) => T, text: string): T {
  try {
    return parse(text)
  } catch (fault) {
    throw usage((fault as Error).message)
  }
}

function text({ user, action, topic }: Question, { allowed, decisions, receiving }: Answer): string {
  const who = user === '' ? 'an anonymous client' : user
  const may = `${allowed ? 'may' : 'may not'} ${action === 'pub' ? 'publish' : 'subscribe'} to ${topic}`
  const lines = [
    `${allowed ? 'allowed' : 'denied'}: ${who} ${may}`,
    ...decisions.map(({ action, why }) => `  ${action}: ${why}`),
    ...(receiving ? [`  receive: ${receiving.delivered} of the messages: ${receiving.why}`] : []),
  ]
  return lines.map((line) => `${inert(line)}\n`).join('')
}

function record(
  question: Question,
  { clientId, groups }: Subject,
  answer: Answer,
  unusable: readonly string[],
): object {
  const { allowed, decisions, receiving } = answer
  return {
    schemaVersion: 1,
    ...question,
    clientId,
    groups,
    allowed,
    decisions: decisions.map(({ rule, ...rest }) => ({ ...rest, ...(rule && { rule: ruleRecord(rule) }) })),
    ...(receiving && { receiving: { ...receiving, rules: receiving.rules.map(ruleRecord) } }),
    unusable,
  }
}

function ruleRecord({ allows, text, place }: Statement): object {
  return { effect: allows ? 'allow' : 'deny', text, ...place }
}
