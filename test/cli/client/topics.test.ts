import { expect, test } from 'vitest'
import { topicMatches } from '../../../src/cli/client/inbox.ts'

for (const [filter, topic, wanted] of [
  ['a/b', 'a/b', true],
  ['a/b', 'a', false],
  ['a', 'a/b', false],
  ['a/+', 'a/b', true],
  ['a/+', 'a/', true],
  ['a/+', 'a', false],
  ['a/+/c', 'a/b/c', true],
  ['a/#', 'a', true],
  ['a/#', 'a/b/c', true],
  ['#', 'a', true],
  ['#', '$SYS/a', false],
  ['+/a', '$SYS/a', false],
  ['$SYS/#', '$SYS/a', true],
  ['/+', '/a', true],
  ['+', '/a', false],
] as const)
  test(`${filter} ${wanted ? 'matches' : 'does not match'} ${topic}`, () =>
    expect(topicMatches(filter, topic)).toBe(wanted))
