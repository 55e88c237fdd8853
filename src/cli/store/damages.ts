import { ownText } from '../../cluster/own-names.ts'
import type { Damage } from '../../store/offline.ts'
import { inert } from '../terminal.ts'
import { sum } from './figures.ts'
import { many } from './text.ts'

/** Damage as JSON has it. */
export interface PlainDamage {
  readonly place: string
  readonly what: string
  /** Records that it took, if that can be told. */
  readonly records?: number
  /** Messages that it took from queues, and whose. */
  readonly messages: number
  readonly lost: readonly { readonly clientId: string; readonly messages: number }[]
}

export function plainDamage({ place, what, records, copies }: Damage): PlainDamage {
  const lost = [...copies].map(([clientId, messages]) => ({ clientId, messages }))
  const messages = sum(lost, ({ messages: count }) => count)
  return { place, what, ...(records !== undefined && { records }), messages, lost }
}

/** Clients that are named for one place; JSON has all. */
const named = 20

/** Damage for a person: where, what, and who has lost how much. */
export function damageText(damage: readonly PlainDamage[]): string {
  let text = `damaged: ${many(damage.length, 'place')}, ${many(
    sum(damage, ({ messages }) => messages),
    'message',
  )} of queues lost\n`
  for (const { place, what, records, lost } of damage) {
    text += `\n  ${inert(place)}\n    ${inert(what)}${records === undefined ? '' : ` (${many(records, 'record')})`}\n`
    for (const { clientId, messages } of lost.slice(0, named))
      text += `    lost to ${inert(ownText(clientId) ?? JSON.stringify(clientId))}: ${many(messages, 'message')}\n`
    if (lost.length > named) text += `    and to ${many(lost.length - named, 'other client')}\n`
  }
  return text
}
