import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { clauses, rowsOf } from './covering.ts'

// Which test holds which clause: `cover.tsv` says it, and the sources must bear it out. `COVER=write npx vitest run
// test/standard/cover.test.ts` adds what is newly covered, and takes nothing away.

interface Claim {
  readonly file: string
  readonly title: string
  readonly clauses: readonly string[]
}

const folder = new URL('.', import.meta.url)
const claims = readdirSync(folder)
  .filter((file) => file.endsWith('.test.ts'))
  .flatMap((file) => claimsOf(file, readFileSync(new URL(file, folder), 'utf8')))
if (process.env.COVER === 'write') write()

const rows = rowsOf('cover.tsv')
const uncovered = new Map(rowsOf('uncovered.tsv').map(([clause, reason]) => [clause!, reason!]))
const claimed = new Set(claims.flatMap((claim) => claim.clauses))

test('every clause that binds a server has a row, or a reason why not', () => {
  const held = new Set(rows.map(([clause]) => clause))
  const binding = [...clauses].filter(([, bindsServer]) => bindsServer).map(([clause]) => clause)
  expect(binding.filter((clause) => !held.has(clause) && !uncovered.has(clause))).toEqual([])
})

test('every row names a test that is there and names the clause', () => {
  const untrue = rows.filter(
    ([clause, file, title]) =>
      !claims.some((claim) => claim.file === file && claim.title === title && claim.clauses.includes(clause!)),
  )
  expect(untrue).toEqual([])
})

test('a clause has one row at most, and a row names a clause of a standard', () => {
  const ids = rows.map(([clause]) => clause!)
  expect(ids.filter((id, at) => ids.indexOf(id) !== at || !clauses.has(id))).toEqual([])
})

test('what counts as impossible to cover exists, has a reason, and is covered nowhere', () => {
  const wrong = [...uncovered].filter(([clause, reason]) => !clauses.has(clause) || !reason || claimed.has(clause))
  expect(wrong).toEqual([])
})

/** Reads the calls of `covers` out of a source. @throws when one cannot be read so. */
function claimsOf(file: string, source: string): Claim[] {
  const found: Claim[] = []
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true)
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && node.expression.getText() === 'covers') found.push(claimOf(node))
    ts.forEachChild(node, visit)
  }
  const claimOf = ({ arguments: [claimed, title], pos }: ts.CallExpression): Claim => {
    const ids = claimed && ts.isArrayLiteralExpression(claimed) ? [...claimed.elements] : []
    if (!title || !(ts.isStringLiteralLike(title) || ts.isTemplateExpression(title)) || !ids.every(ts.isStringLiteral))
      throw new Error(`${file}:${tree.getLineAndCharacterOfPosition(pos).line + 1}: covers() wants literals`)
    // As it stands in the source, so that `${…}` has a name.
    return { file, title: title.getText().slice(1, -1), clauses: ids.map(({ text }) => text) }
  }
  visit(tree)
  return found
}

function write(): void {
  const byClause = new Map(rowsOf('cover.tsv').map((row) => [row[0]!, row]))
  for (const [clause, bindsServer] of clauses) {
    const claim = claims.find((candidate) => candidate.clauses.includes(clause))
    if (bindsServer && claim && !byClause.has(clause)) byClause.set(clause, [clause, claim.file, claim.title])
  }
  const order = [...clauses.keys()]
  const sorted = [...byClause.values()].sort((a, b) => order.indexOf(a[0]!) - order.indexOf(b[0]!))
  const lines = [['clause', 'file', 'title'], ...sorted].map((row) => row.join('\t'))
  writeFileSync(new URL('cover.tsv', folder), `${lines.join('\n')}\n`)
}
