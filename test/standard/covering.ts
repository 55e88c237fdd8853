import { readFileSync } from 'node:fs'
import { test } from 'vitest'

// The normative statements of both standards, and the tests that say which of them they hold. A clause is written
// '5:MQTT-3.1.2-24' or '3.1.1:MQTT-3.1.2-24'. `cover.test.ts` holds that none is forgotten.

/**
 * Every clause of both standards, in their order, and whether it binds a server. 3.1.1 does not say so of each: what is
 * not the client's alone counts.
 */
export const clauses: ReadonlyMap<string, boolean> = new Map([...standard('5', '5.0'), ...standard('3.1.1', '3.1.1')])

/**
 * Registers a test that holds `claimed`. Write both as literals, the title with or without `${…}`: `cover.test.ts`
 * reads them out of the source.
 * @throws for a clause that no standard has
 */
export function covers(claimed: readonly string[], title: string, body: () => void | Promise<void>): void {
  for (const clause of claimed) if (!clauses.has(clause)) throw new Error(`no standard has a clause ${clause}`)
  test(`${title} · ${claimed.join(' ')}`, body)
}

/** The rows of a table in this folder, without its head. */
export function rowsOf(file: string): string[][] {
  const [, ...lines] = readFileSync(new URL(file, import.meta.url), 'utf8').split('\n')
  return lines.filter((line) => line !== '').map((line) => line.split('\t'))
}

function standard(name: string, version: string): [clause: string, bindsServer: boolean][] {
  return rowsOf(`mqtt-${version}.tsv`).map(([id, binds]) => [`${name}:${id}`, binds?.toLowerCase() !== 'client'])
}
