import { describe, expect, test } from 'vitest'
import { type AclProblem, readAclFile } from '../../src/access/acl-file.ts'
import { Permissions } from '../../src/access/permissions.ts'
import { Act } from '../../src/access/rules.ts'
import { parseFilter, Topic } from '../../src/mqtt/topic.ts'
import { aclCases, badAclFiles } from './acl-cases.ts'

function permissionsOf(text: string): Permissions {
  const problems: AclProblem[] = []
  const policy = readAclFile('acl', text, problems)
  expect(problems).toEqual([])
  return new Permissions([policy!])
}

for (const { name, text, asked } of aclCases)
  describe(name, () => {
    const permissions = permissionsOf(text)
    for (const [user, id, name, theirs, ours = theirs] of asked)
      test(`${user ?? 'anonymous'}, ${id}: ${name} ${ours || 'neither'}`, () => {
        const client = permissions.for(user === undefined ? undefined : { user }, id)
        const topic = new Topic(name, Buffer.from(name))
        const may = (action: number): boolean => client.may(action, topic)
        expect(`${may(Act.receive) ? 'R' : ''}${may(Act.publish) ? 'W' : ''}`).toBe(ours)
        // A client that may write may do so retained, and by its will; every subscription is granted.
        expect([may(Act.retain), may(Act.will)]).toEqual([ours.includes('W'), ours.includes('W')])
        expect(client.mayFilter(parseFilter(name).filter, true)).toBe(true)
      })
  })

describe('what is wrong, and where', () => {
  for (const [text, line] of badAclFiles)
    test(JSON.stringify(text), () => {
      const problems: AclProblem[] = []
      expect(readAclFile('acl', text, problems)).toBeUndefined()
      expect(problems.map((problem) => problem.line)).toEqual([line])
    })

  test('all of it, in words', () => {
    const problems: AclProblem[] = []
    readAclFile('acl', 'topc a\ntopic raed a\nuser\ntopic\ntopic a/#/b', problems)
    expect(problems).toEqual([
      { line: 1, message: 'a line begins with topic, pattern or user, not with "topc"' },
      { line: 2, message: '"raed" is none of read, write, readwrite and deny, which a topic with spaces needs' },
      { line: 3, message: 'which user?' },
      { line: 4, message: 'which topic?' },
      { line: 5, message: '"#" must be the whole last level in "a/#/b"' },
    ])
  })
})
