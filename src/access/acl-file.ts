import { parseFilter } from '../mqtt/topic.ts'
import { levelsOf, patternOf } from './placeholders.ts'
import { Act, type Policy, Stage, type Statement } from './rules.ts'

// Mosquitto's acl_file, with the meaning that it has there (mosquitto.conf(5), and what version 2.0 does):
//
//   topic [read|write|readwrite|deny] TOPIC      for anonymous clients, or for those of the last `user` line above
//   user NAME
//   pattern [read|write|readwrite|deny] TOPIC    for every client; %c and %u are its id and user name, anywhere in a level
//
// A client's topic lines come first, and patterns where those say nothing; among either, `deny` wins. Every subscription is
// granted, and messages that may not be read are kept back. A `#` makes a comment at the very start of a line only, there are
// no quotes, spaces belong to the topic once an access type stands before it, and tabs separate nothing.
//
// Stricter than there in one point: an id or user name that has a slash in it, or begins with "$" where a topic would, fills
// no pattern.

export interface AclProblem {
  readonly line: number
  readonly message: string
}

const read = Act.receive
// A client that may write may do so in each of the ways that there are.
const write = Act.publish | Act.retain | Act.will
const accesses = new Map([
  ['read', read],
  ['write', write],
  ['readwrite', read | write],
  ['deny', read | write],
])

/**
 * Reads an acl_file. An empty one allows nothing.
 * @param source its name, for whoever asks which line has decided
 * @returns undefined when something is wrong with it: `problems` says what
 */
export function readAclFile(source: string, text: string, problems: AclProblem[]): Policy | undefined {
  const topics: Statement[] = []
  const patterns: Statement[] = []
  let who: string | undefined
  let sound = true
  for (const [at, whole] of text.split('\n').entries()) {
    const line = trimmed(whole)
    if (line === '' || line.startsWith('#')) continue
    try {
      const [keyword, rest] = firstWord(line)
      if (keyword === 'user') who = userOf(rest)
      else if (keyword === 'topic') topics.push(topicLine(rest, who, { source, line: at + 1 }, line))
      else if (keyword === 'pattern') patterns.push(patternLine(rest, { source, line: at + 1 }, line))
      else throw new Error(`a line begins with topic, pattern or user, not with ${JSON.stringify(keyword)}`)
    } catch (fault) {
      sound = false
      problems.push({ line: at + 1, message: (fault as Error).message })
    }
  }
  return sound ? { stages: [new Stage(topics), new Stage(patterns)], always: Act.subscribe | Act.shared } : undefined
}

function topicLine(rest: string, who: string | undefined, place: Statement['place'], text: string): Statement {
  const { allows, actions, topic } = accessOf(rest)
  return {
    allows,
    actions,
    // What stands in a topic line is no placeholder.
    patterns: [{ text: topic, levels: levelsOf(topic), holes: [] }],
    who: who === undefined ? { anonymous: true } : { users: [who] },
    text: `${text}, for ${who === undefined ? 'anonymous clients' : `user ${who}`}`,
    place,
  }
}

function patternLine(rest: string, place: Statement['place'], text: string): Statement {
  const { allows, actions, topic } = accessOf(rest)
  // A client with a wildcard in its id or name has no patterns at all, be there placeholders in them or not.
  return { allows, actions, patterns: [patternOf(topic)], who: { everybody: true, plain: true }, text, place }
}

function accessOf(rest: string): { allows: boolean; actions: number; topic: string } {
  const [word, more] = firstWord(rest)
  if (word === '') throw new Error('which topic?')
  // A word alone is the topic, even "read".
  const access = more === '' ? 'readwrite' : word
  const actions = accesses.get(access)
  if (actions === undefined)
    throw new Error(
      `${JSON.stringify(word)} is none of read, write, readwrite and deny, which a topic with spaces needs`,
    )
  // In a group, so that a topic that begins with $share stays what it is.
  const topic = parseFilter(`$share/checked/${more === '' ? word : more}`).filter
  return { allows: access !== 'deny', actions, topic }
}

function userOf(rest: string): string {
  const name = rest.replace(/^ +/, '')
  if (name === '') throw new Error('which user?')
  return name
}

/** The first word, and what stands behind it without the spaces between. */
function firstWord(text: string): readonly [word: string, rest: string] {
  const from = text.replace(/^ +/, '')
  const end = from.indexOf(' ')
  return end < 0 ? [from, ''] : [from.slice(0, end), from.slice(end).replace(/^ +/, '')]
}

function trimmed(line: string): string {
  return line.replace(/[ \t\r\v\f]+$/, '')
}
