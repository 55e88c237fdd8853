import { type Finding, findingKinds } from './checker.ts'
import type { Outcome } from './run.ts'

const examples = 5

/** What a person wants to know at the end: figures, then each kind of broken promise with a few examples. */
export function report(outcome: Outcome): string {
  const { kills, readyMs, acknowledged, delivered, duplicates, wills, findings, refused, dropped } = outcome
  const total = (counts: Readonly<Record<1 | 2, number>>): number => counts[1] + counts[2]
  const row = (name: string, ...cells: (number | string)[]): string =>
    `  ${name.padEnd(28)}${cells.map((cell) => String(cell).padStart(10)).join('')}`
  const both = (name: string, counts: Readonly<Record<1 | 2, number>>): string =>
    row(name, counts[1], counts[2], total(counts))
  const lines = [
    row('', 'QoS 1', 'QoS 2', 'all'),
    both('acknowledged', acknowledged),
    both('delivered', delivered),
    both('duplicates', duplicates),
    '',
    row('kills', kills),
    row('ready after, ms', `median ${ms(middle(readyMs))}`, `   max ${ms(Math.max(...readyMs))}`),
    row('wills that fell due', wills),
    row('repeats dropped by their id', dropped),
    ...(refused > 0 ? [row('refused with a reason', refused)] : []),
    '',
    ...findingKinds.flatMap((kind) => about(kind, findings)),
    '',
    findings.length === 0 ? 'Every promise was kept.' : `${findings.length} promises were broken.`,
  ]
  return `${lines.join('\n')}\n`
}

function about(kind: Finding['kind'], findings: readonly Finding[]): string[] {
  const some = findings.filter((finding) => finding.kind === kind)
  const shown = some.slice(0, examples).map(({ what }) => `    ${what}`)
  const more = some.length - shown.length
  if (more > 0) shown.push(`    … and ${more} more`)
  const name = some.length > 0 ? kind.toUpperCase() : kind
  return [`  ${name.padEnd(28)}${String(some.length).padStart(10)}`, ...shown]
}

function middle(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
}

function ms(value: number): string {
  return value.toFixed(0)
}
