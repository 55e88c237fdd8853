import type { Message } from '../mqtt/message.ts'
import { Reason, reasonName } from '../mqtt/reason.ts'

/** Why a copy of a message did not reach a subscriber, or a publish was refused. */
export const losses = [
  'offline',
  'congested',
  'queue-full',
  'expired',
  'too-large',
  'refused-by-client',
  'session-ended',
  'no-member',
  'damaged',
  'not-allowed',
] as const
export type Loss = (typeof losses)[number]

/** What a listener is told: a loss, a publish that was refused, or one that went out but is not retained. */
export type Mishap = Loss | 'not-authorized' | 'retained-full' | 'quota-exceeded' | 'over-rate'

/**
 * Told of each loss: where it becomes a log line, a metric, an answer to "why". The message is undefined when it is not in
 * memory any more.
 */
export type LossListener = (mishap: Mishap, clientId: string, message: Message | undefined) => void

const mishaps = new Map<number, Mishap>([
  [Reason.quotaExceeded, 'quota-exceeded'],
  [Reason.messageRateTooHigh, 'over-rate'],
])

/**
 * Counts every message from the moment it is accepted to its end, so that nothing vanishes:
 *
 *   published = unmatched + matched + refused
 *   copies    = delivered + waiting (in outboxes, in flight) + Σ lost
 */
export class Ledger {
  /** Messages accepted from clients, wills and the broker itself. */
  published = 0
  /** Of these, those that no subscription wanted. */
  unmatched = 0
  /** Of these, those that went to at least one subscriber. */
  matched = 0
  /** Of these, those that were not allowed. */
  refused = 0
  /** Of these, those that were more than their publisher's rate. */
  overRate = 0
  /** Times that a publisher was not read for a while, as it had sent more than its rate. */
  slowed = 0
  /** Accepted messages that were not retained, as the limit of retained messages was reached. */
  notRetained = 0
  /** Copies made for subscribers, retained ones included. */
  copies = 0
  /** Copies written (QoS 0) or acknowledged (QoS 1, 2). */
  delivered = 0
  readonly lost: Record<Loss, number> = Object.fromEntries(losses.map((loss) => [loss, 0])) as Record<Loss, number>
  /** Everything that was refused, by the name of its reason code. */
  readonly refusals = new Map<string, number>()
  listener: LossListener | undefined = undefined

  /** A copy ends here. */
  lose(loss: Loss, clientId: string, message: Message | undefined): void {
    this.lost[loss]++
    this.listener?.(loss, clientId, message)
  }

  /** A publish ends here; it never became copies. */
  refuse(reason: number, clientId: string, message: Message): void {
    this.refused++
    this.refusal(reason)
    this.listener?.(mishaps.get(reason) ?? 'not-authorized', clientId, message)
  }

  /** A connection, a subscription or a publish was refused, or a connection was closed for a fault. */
  refusal(reason: number): void {
    const name = reasonName(reason)
    this.refusals.set(name, (this.refusals.get(name) ?? 0) + 1)
  }

  get lostTotal(): number {
    let total = 0
    for (const loss of losses) total += this.lost[loss]
    return total
  }
}
