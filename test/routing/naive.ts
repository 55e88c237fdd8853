// The rules of MQTT 5.0 section 4.7 by splitting strings: slow, and easy to see that it is right.
import fc from 'fast-check'

export function naiveMatches(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && (filter.startsWith('+') || filter.startsWith('#'))) return false
  const filterLevels = filter.split('/')
  const topicLevels = topic.split('/')
  for (let at = 0; at < filterLevels.length; at++) {
    if (filterLevels[at] === '#') return true
    if (at === topicLevels.length) return false
    if (filterLevels[at] !== '+' && filterLevels[at] !== topicLevels[at]) return false
    // "a/#" matches "a" too.
    if (at === topicLevels.length - 1 && filterLevels.slice(at + 1).join('/') === '#') return true
  }
  return filterLevels.length === topicLevels.length
}

const literals = ['', 'a', 'b', '$SYS', '$', '__proto__', 'constructor', 'Ünïcödé-🐦', 'a-level-longer-than-one-cell']

const level = fc.oneof({ weight: 3, arbitrary: fc.constantFrom('a', 'b') }, fc.constantFrom(...literals))

export const topicNames = fc
  .array(level, { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join('/'))
  .filter((name) => name !== '')

export const filters = fc
  .tuple(
    fc.array(fc.oneof({ weight: 3, arbitrary: level }, fc.constant('+')), { minLength: 0, maxLength: 4 }),
    fc.boolean(),
  )
  .map(([levels, open]) => (open ? [...levels, '#'] : levels).join('/'))
  .filter((filter) => filter !== '')
