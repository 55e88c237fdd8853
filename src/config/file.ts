import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document } from 'yaml'
import type { z } from 'zod'
import { shown, type Problem } from './problem.ts'
import { fileSchema, keysAt, type FileConfig } from './schema.ts'
import { didYouMean } from './suggest.ts'

/** A file that holds what the schema asks, and where each of its values stands. */
export interface ParsedFile {
  /** Its path. */
  readonly source: string
  readonly values: FileConfig
  where(path: readonly PropertyKey[]): Place
}
export type Place = Pick<Problem, 'source' | 'line' | 'column' | 'key'>

/** Reads and checks the text of a configuration file. What is wrong goes to `problems`, and there is no file then. */
export function parseFile(source: string, text: string, problems: Problem[]): ParsedFile | undefined {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true })
  const at = (offset: number): Pick<Problem, 'line' | 'column'> => {
    const { line, col } = lines.linePos(offset)
    return { line, column: col }
  }
  // Warnings too: an unknown tag changes what a value means.
  const faults = [...document.errors, ...document.warnings]
  if (faults.length > 0) {
    problems.push(...faults.map(({ pos, message }) => ({ source, ...at(pos[0]), message: `YAML: ${message}` })))
    return undefined
  }

  const where = (path: readonly PropertyKey[], keyOnly = false): Place => ({
    source,
    ...at(offsetOf(document, path, keyOnly)),
    ...(path.length > 0 && { key: path.join('.') }),
  })
  let values: unknown
  try {
    values = document.toJS() ?? {}
  } catch (fault) {
    // Aliases that go nowhere, or that multiply without end.
    problems.push({ source, line: 1, column: 1, message: `YAML: ${(fault as Error).message}` })
    return undefined
  }
  const result = fileSchema.safeParse(values)
  if (result.success) return { source, values: result.data, where }
  const found = result.error.issues.flatMap((issue): Problem[] => {
    // Where any name may stand, it is the name that is wrong.
    if (issue.code === 'invalid_key') return [{ ...where(issue.path, true), message: issue.message }]
    if (issue.code !== 'unrecognized_keys') {
      return [{ ...where(issue.path), message: issueText(issue, valueAt(values, issue.path)) }]
    }
    const known = keysAt(issue.path)
    return issue.keys.map((key) => {
      return { ...where([...issue.path, key], true), message: `unknown key${didYouMean(key, known)}` }
    })
  })
  problems.push(...found.sort((a, b) => a.line! - b.line! || a.column! - b.column!))
  return undefined
}

/** What a person reads about a value that breaks its rule. */
export function issueText(issue: z.core.$ZodIssue, value: unknown): string {
  if (value === undefined) return `is missing: ${issue.message}`
  return issue.code === 'custom' ? `${shown(value)}: ${issue.message}` : `${issue.message}, not ${shown(value)}`
}

function valueAt(values: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | null)?.[key], values)
}

// The value, or its key when that is asked for, or the innermost thing around it that is in the file.
function offsetOf(document: Document, path: readonly PropertyKey[], keyOnly: boolean): number {
  let node: unknown = document.contents
  let offset = document.contents?.range?.[0] ?? 0
  for (const [depth, key] of path.entries()) {
    const inside = isAlias(node) ? node.resolve(document) : node
    const pair = isMap(inside)
      ? inside.items.find((item) => isScalar(item.key) && String(item.key.value) === key)
      : undefined
    node = isSeq(inside) ? inside.items[key as number] : (pair?.value ?? pair?.key)
    if (keyOnly && depth === path.length - 1) node = pair?.key
    const range = (node as { range?: readonly number[] | null } | undefined)?.range
    if (!range) break
    offset = range[0]!
  }
  return offset
}
