import { InvalidArgumentError } from 'commander'
import { parseTopicName, type QoS } from '../mqtt/topic.ts'
import { CliError, Exit } from './io.ts'

// Readers of a flag's text, for commander: what they throw becomes a usage error that names the flag.

/** A whole number. */
export function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^[0-9]+$/.test(text) && value >= least && value <= most) return value
    throw new InvalidArgumentError(`It is a whole number from ${least} to ${most}.`)
  }
}

/** A number of seconds, or a percentage: anything from `least` to `most`. */
export function decimal(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^[0-9.]+$/.test(text) && value >= least && value <= most) return value
    throw new InvalidArgumentError(`It is a number from ${least} to ${most}.`)
  }
}

export function qos(text: string): QoS {
  return whole(0, 2)(text) as QoS
}

/** A topic to publish to. */
export function topicName(text: string): string {
  return reading(parseTopicName)(text)
}

/** Gathers a flag that may be given many times. */
export function gathered(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text]
}

/** Makes any parser that throws fit for a flag. */
export function reading<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text)
    } catch (fault) {
      throw new InvalidArgumentError(`${(fault as Error).message}.`)
    }
  }
}

/** Flags that are well-formed but do not fit together. */
export function usage(message: string): CliError {
  return new CliError(Exit.usage, message)
}
