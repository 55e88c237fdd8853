import type { QoS } from '../../mqtt/topic.ts'
import type { Version } from './frames.ts'

export const modes = ['pairs', 'fanin', 'fanout', 'shared'] as const
export type Mode = (typeof modes)[number]

/** What every bench verb takes. */
export interface CommonOptions {
  readonly host: string
  readonly port: number
  readonly protocolVersion: Version
  readonly username?: string
  readonly pw?: string
  /** Clients connecting at the same time. */
  readonly atOnce: number
  readonly prefix: string
  readonly timeout: number
  readonly json?: boolean
  readonly quiet?: boolean
  readonly headers: boolean
}

export interface PublishOptions extends CommonOptions {
  readonly mode: Mode
  readonly publishers: number
  readonly subscribers: number
  readonly count: number
  readonly warmup: number
  readonly qos: QoS
  readonly subQos: QoS
  readonly size: number
  readonly window: number
  readonly order?: boolean
  /** Where subscribers connect, when that is elsewhere: at another node of a cluster. */
  readonly subPort?: number
  readonly settle: number
  /** Subscribers have sessions that outlive their connections. */
  readonly persistent?: boolean
  /** And have left before anything is published: the broker keeps it for them. */
  readonly offline?: boolean
  /** Open loop, messages a second in all. */
  readonly rate?: number
}

export interface SubscribeOptions extends CommonOptions {
  readonly subscribers: number
  readonly filter: string
  readonly qos: QoS
  readonly seconds: number
  readonly count?: number
  readonly persistent?: boolean
}

export interface ConnectOptions extends CommonOptions {
  readonly connections: number
  readonly hold: number
}

export function topicOf(mode: Mode, prefix: string, publisher: number): string {
  return mode === 'fanout' ? `${prefix}/all` : `${prefix}/t/${publisher}`
}

export function filterOf(mode: Mode, prefix: string, subscriber: number, publishers: number): string {
  switch (mode) {
    case 'pairs':
    case 'fanout':
      return topicOf(mode, prefix, subscriber % publishers)
    case 'fanin':
      return `${prefix}/#`
    case 'shared':
      return `$share/bench/${prefix}/#`
  }
}

/** How many subscribers get each message. */
export function deliveriesOf(mode: Mode, subscribers: number, publishers: number): number {
  switch (mode) {
    case 'pairs':
      return subscribers / publishers
    case 'fanout':
    case 'fanin':
      return subscribers
    case 'shared':
      return Math.min(1, subscribers)
  }
}

/** The fault of options that do not go together, if there is one. */
export function faultOf(options: PublishOptions): string | undefined {
  const { mode, publishers, subscribers, count, order, size, rate, offline } = options
  if (mode === 'pairs' && subscribers % publishers !== 0)
    return `--mode pairs needs as many subscribers as publishers, or a multiple, and not ${subscribers} for ${publishers}`
  if (offline && subscribers === 0) return '--offline needs subscribers: without a session nothing is kept'
  if (count < publishers) return `--count ${count} is less than one message for each of ${publishers} publishers`
  if (order && size < 16) return `--order needs a --size of 16 or more: the payload carries the sequence number`
  if (rate !== undefined && size < 8) return `latency needs a --size of 8 or more: the payload carries the time`
  return undefined
}
