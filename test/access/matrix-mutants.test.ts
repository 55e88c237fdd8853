import { expect, test } from 'vitest'
import type * as World from './matrix-world.ts'
import { type Mutant, planted } from '../support/planted.ts'

// Bugs that we plant, to see that the matrix finds them: each changes one line in a copy of what is tested.

const mutants: readonly Mutant[] = [
  ['deny does not win', 'access/rules.ts', 'verdicts & ~(verdicts >> 8) & everyAction', 'verdicts & everyAction'],
  [
    'the first rule that matches wins',
    'access/rules.ts',
    'else no |= actions & open',
    'else no |= actions & open & ~yes',
  ],
  [
    'a user name or client id may be a wildcard',
    'access/placeholders.ts',
    ' || code === 0x23 || code === 0x2b || code === 0x2f) return false',
    ') return false',
  ],
  ['an empty name fills a level', 'access/placeholders.ts', "  return value !== ''", '  return true'],
  [
    'what goes in is looked at again',
    'access/placeholders.ts',
    "level === '%c' ? clientId :",
    "level === '%c' ? clientId.replace('%u', user) :",
  ],
  [
    'a name that begins with "$" opens such topics',
    'access/placeholders.ts',
    "at === 0 && filled.startsWith('$') && !level.startsWith('$') ? undefined : filled",
    'filled',
  ],
  [
    'an empty user name is a user',
    'access/rules.ts',
    "  return user === undefined || user === ''",
    '  return user === undefined',
  ],
  [
    "a group that is no rule's first is nobody",
    'access/rules.ts',
    'of subject.groups) this',
    'of subject.groups.slice(0, 1)) this',
  ],
  ['only one rule is known of a user', 'access/rules.ts', 'joined(byName.get(name), tree)', '[tree]'],
  ['"#" matches "$SYS"', 'access/rule-tree.ts', 'if (meetsWild && at <= least)', 'if (at <= least)'],
  [
    '"+" covers "$SYS"',
    'access/rule-tree.ts',
    'if (meetsWild && branch.any) this.#cover',
    'if (branch.any) this.#cover',
  ],
  ['"a/#" does not match "a"', 'access/rule-tree.ts', 'at <= least) add', 'at < least) add'],
  [
    'a filter is covered by what it overlaps',
    'access/rules.ts',
    'tree.covering(asked, subject, found)',
    'tree.overlapping(asked, subject, found)',
  ],
  ['"a/+" covers "a/#"', 'access/rule-tree.ts', 'if (!open && at === fixed)', 'if (at === least)'],
  ['"a" is all of a deeper topic', 'access/rule-tree.ts', 'if (!open && at === fixed)', 'if (!open)'],
  ['a hole is a word', 'access/rule-tree.ts', 'holes.includes(at) ?', 'holes.includes(-1) ?'],
  ['rules of the same people are one', 'access/rules.ts', 'JSON.stringify(statement.who)', "''"],
  [
    'the cache is not dropped on reload',
    'access/permissions.ts',
    '    this.#generation++',
    '    this.#generation += 0',
  ],
  [
    'what was decided is kept under the same number',
    'access/permissions.ts',
    '    return ++this.#numbers',
    '    return (this.#numbers ||= 1)',
  ],
  [
    'the table gives the answer of another topic',
    'access/decisions.ts',
    'this.#topics[at] === number && this.',
    'this.',
  ],
  ['the table gives the answer of another client', 'access/decisions.ts', ' && this.#clients[at + 1] === client', ''],
  [
    'retain is not asked',
    'access/permissions.ts',
    '(topic) : known) & actions) === actions',
    '(topic) : known) & actions & ~Act.retain) === (actions & ~Act.retain)',
  ],
  [
    'one of several actions is enough',
    'access/permissions.ts',
    '(topic) : known) & actions) === actions',
    '(topic) : known) & actions) !== 0',
  ],
  ['shared is not asked', 'access/permissions.ts', ' | (shared ? Act.shared : 0)', ' | (shared ? 0 : 0)'],
  [
    'a token without rules elsewhere may do everything',
    'access/permissions.ts',
    'this.#own.length === 0 ? policies',
    'policies.length === 0 ? policies',
  ],
  [
    'all may come although a part is denied',
    'access/permissions.ts',
    'stage.overlapping(asked, this.#subject).some(deniesReceiving)',
    'stage.covering(asked, this.#subject).some(deniesReceiving)',
  ],
  [
    'what is denied to some of its topics begins with a fixed level',
    'access/rule-tree.ts',
    'if (meetsWild && branch.any) this.#overlap(',
    'if (at > 0 && branch.any) this.#overlap(',
  ],
]

/** Enough for each of them; the matrix asks more. */
const cases = 400_000

const worldWith = (mutant: Mutant): Promise<typeof World> => planted('access/matrix-world.ts', mutant)

test('the copy without a bug passes', async () => {
  const line = '    this.#generation++'
  expect((await worldWith(['none', 'access/permissions.ts', line, line])).compare(1, cases)).toBeUndefined()
})

for (const mutant of mutants)
  test(mutant[0], async () => {
    expect((await worldWith(mutant)).compare(1, cases)).toBeDefined()
  })
