import { expect, test } from 'vitest'
import type * as World from './matrix-world.ts'
import { type Mutant, planted } from './planted.ts'

// Bugs that we plant, to see that the matrix finds them: each changes one line in a copy of what is tested.

const mutants: readonly Mutant[] = [
  ['deny does not win', 'rules.ts', 'verdicts & ~(verdicts >> 8) & everyAction', 'verdicts & everyAction'],
  ['the first rule that matches wins', 'rules.ts', 'open & ~(statement.allows ? yes | no : no)', 'open & ~(yes | no)'],
  [
    'a user name or client id may be a wildcard',
    'rules.ts',
    ' || code === 0x23 || code === 0x2b || code === 0x2f) return false',
    ') return false',
  ],
  ['an empty name fills a level', 'rules.ts', "  return value !== ''", '  return true'],
  [
    'what goes in is looked at again',
    'rules.ts',
    'return isPlain(clientId) ? clientId : undefined',
    "return isPlain(clientId) ? clientId.replace('%u', user) : undefined",
  ],
  [
    'a name that begins with "$" opens such topics',
    'rules.ts',
    " || (at === 0 && level.startsWith('$') && !levels[0]!.startsWith('$'))",
    '',
  ],
  [
    'an empty user name is a user',
    'rules.ts',
    "  return user === undefined || user === ''",
    '  return user === undefined',
  ],
  [
    '"#" matches "$SYS"',
    'coverage.ts',
    '  if (isWild(filter[0]!) && isReserved(topic)) return false',
    '  if (isWild(topic[0]!)) return false',
  ],
  [
    '"#" covers "$SYS/#"',
    'coverage.ts',
    '  if (isWild(wide[0]!) && isReserved(narrow)) return false',
    '  if (isWild(wide[0]!) && isWild(narrow[0]!) && isReserved(narrow)) return false',
  ],
  ['"a/#" does not match "a"', 'coverage.ts', 'topic.length < fixed :', 'topic.length <= fixed :'],
  [
    'a filter is covered by what it overlaps',
    'rules.ts',
    '  return (filter) => covers(filter, narrow)',
    '  return (filter) => overlaps(filter, narrow)',
  ],
  [
    '"a/+" covers "a/#"',
    'coverage.ts',
    'narrowFixed < narrow.length || narrowFixed !== fixed',
    'shortest(narrow) > fixed',
  ],
  ['the cache is not dropped on reload', 'permissions.ts', '    this.#generation++', '    this.#generation += 0'],
  [
    'what was decided is kept under the same number',
    'permissions.ts',
    '    return ++this.#numbers',
    '    return (this.#numbers ||= 1)',
  ],
  ['the table gives the answer of another topic', 'decisions.ts', 'this.#topics[at] === key && this.', 'this.'],
  ['the table gives the answer of another client', 'decisions.ts', ' && this.#clients[at + 1] === client', ''],
  [
    'retain is not asked',
    'permissions.ts',
    '(bits & actions) === actions',
    '(bits & actions & ~Act.retain) === (actions & ~Act.retain)',
  ],
  ['one of several actions is enough', 'permissions.ts', '(bits & actions) === actions', '(bits & actions) !== 0'],
  ['shared is not asked', 'permissions.ts', ' | (shared ? Act.shared : 0)', ' | (shared ? 0 : 0)'],
  [
    'a token without rules elsewhere may do everything',
    'permissions.ts',
    'this.#own.length === 0 ? policies',
    'policies.length === 0 ? policies',
  ],
  [
    'all may come although a part is denied',
    'permissions.ts',
    '        else if (says(statement, this.#subject, part)) return false',
    '        else if (says(statement, this.#subject, whole)) return false',
  ],
]

/** Enough for each of them; the matrix asks far more. */
const cases = 40_000

const worldWith = (mutant: Mutant): Promise<typeof World> => planted('matrix-world.ts', mutant)

test('the copy without a bug passes', async () => {
  const line = '    this.#generation++'
  expect((await worldWith(['none', 'permissions.ts', line, line])).compare(1, cases)).toBeUndefined()
})

for (const mutant of mutants)
  test(mutant[0], async () => {
    expect((await worldWith(mutant)).compare(1, cases)).toBeDefined()
  })
