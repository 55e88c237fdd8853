import type { Message } from '../mqtt/message.ts'

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
  'not-authorized',
  'retained-full',
] as const
export type Loss = (typeof losses)[number]

/** Told of each loss: where it becomes a log line, a metric, an answer to "why". */
export type LossListener = (loss: Loss, clientId: string, message: Message) => void

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
  /** Copies made for subscribers, retained ones included. */
  copies = 0
  /** Copies written (QoS 0) or acknowledged (QoS 1, 2). */
  delivered = 0
  readonly lost: Record<Loss, number> = Object.fromEntries(losses.map((loss) => [loss, 0])) as Record<Loss, number>
  listener: LossListener | undefined = undefined

  /** A copy ends here. */
  lose(loss: Loss, clientId: string, message: Message): void {
    this.lost[loss]++
    this.listener?.(loss, clientId, message)
  }

  /** A publish ends here; it never became copies. */
  refuse(loss: Loss, clientId: string, message: Message): void {
    this.refused++
    this.listener?.(loss, clientId, message)
  }

  get lostTotal(): number {
    let total = 0
    for (const loss of losses) total += this.lost[loss]
    return total
  }
}
