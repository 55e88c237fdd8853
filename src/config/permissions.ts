import { z } from 'zod'
import { type Action, actions, checkTopic, compileRules, type Policy, type Rule, type Who } from '../access/rules.ts'
import type { Config } from './config.ts'
import type { ParsedFile } from './file.ts'
import { object } from './object.ts'
import { didYouMean } from './suggest.ts'

const whoIs = 'everybody, anonymous, or a map with users, groups, clientIds or anonymous'

/** A list of names that are compared as they stand. */
const names = z
  .array(z.string('must be a text').min(1, 'must not be empty'), 'must be a list')
  .min(1, 'must name one, or be left out')
  .optional()

const who = object(
  {
    everybody: z.literal(true, 'must be true, or be left out').optional(),
    anonymous: z.literal(true, 'must be true, or be left out').optional(),
    users: names,
    groups: names,
    clientIds: names,
  },
  whoIs,
).refine((value) => Object.keys(value).length > 0, {
  error: 'must name somebody',
  // A misspelt key is the better complaint.
  when: ({ issues }) => issues.length === 0,
})

const action = z.string('must be an action').transform((text, context): Action => {
  if ((actions as readonly string[]).includes(text)) return text as Action
  context.addIssue(`is none of ${actions.join(', ')}${didYouMean(text, actions)}`)
  return z.NEVER
})

const topic = z.string('must be a topic filter').transform((text, context) => {
  try {
    return checkTopic(text)
  } catch (fault) {
    context.addIssue((fault as Error).message)
    return z.NEVER
  }
})

const rule = object(
  {
    effect: z.enum(['allow', 'deny'], 'must be allow or deny'),
    who: z.preprocess((given) => (given === 'everybody' || given === 'anonymous' ? { [given]: true } : given), who),
    actions: z.array(action, 'must be a list of actions').min(1, 'must list an action'),
    topics: z.array(topic, 'must be a list of topic filters').min(1, 'must list a topic filter'),
  },
  'a map with effect, who, actions and topics',
)

/**
 * Rules in order. An empty list is refused: whether it means that nothing is allowed, or that there are no rules and all of it
 * is, nobody should have to know.
 */
export const permissionsSchema = z.array(rule, 'must be a list of rules').min(1, 'must list a rule, or be left out')

/** Keys that may stand at `path` within `permissions`. */
export function permissionKeysAt(path: readonly PropertyKey[]): readonly string[] {
  return path.includes('who') ? Object.keys(who.shape) : Object.keys(rule.shape)
}

/** The rules of a file, each with the place where it stands; undefined when there are none. */
export function permissionsOf(file: ParsedFile | undefined): readonly Rule[] | undefined {
  return file?.values.permissions?.map(({ effect, who, actions, topics }, at): Rule => {
    const { source, line, column } = file.where(['permissions', at])
    const place = { source, ...(line !== undefined && { line }), ...(column !== undefined && { column }) }
    return { effect, who: who as Who, actions, topics, place }
  })
}

/** All that a configuration says of who may do what: none when everybody may do everything. */
export function policiesOf({ permissions, auth }: Pick<Config, 'permissions' | 'auth'>): readonly Policy[] {
  return [permissions && compileRules(permissions), auth?.acl].filter((policy) => policy !== undefined)
}
