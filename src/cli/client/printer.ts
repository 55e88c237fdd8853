import { inert, inertLines } from '../terminal.ts'
import type { Format } from './format.ts'
import { jsonLine, type Received } from './message.ts'

export interface PrinterSettings {
  readonly json: boolean
  readonly format: Format | undefined
  /** The topic in front. */
  readonly verbose: boolean
  /** No newline after each message. */
  readonly bare: boolean
  /** A terminal would act on control characters in what a client sent; a pipe wants the bytes as they are. */
  readonly terminal: boolean
}

/** What to write for a message. */
export type Printer = (message: Received) => Buffer | string

/** `complain` hears of a message that is not what its format asks for; the rest of it is shown all the same. */
export function createPrinter(settings: PrinterSettings, complain: (text: string) => void): Printer {
  const { json, format, verbose, bare, terminal } = settings
  const newline = bare ? '' : '\n'
  const show = (value: string | Buffer): string | Buffer => (terminal ? inertLines(value.toString()) : value)
  // JSON escapes C0 itself; what is left to escape is legal inside its strings in that same form.
  if (json) return (message) => (terminal ? inert(jsonLine(message)) : jsonLine(message)) + newline
  if (format) {
    return (message) => {
      const pieces: (string | Buffer)[] = []
      for (const { make, foreign } of format.parts) {
        const value = make(message)
        if (value === undefined) complain(`the message on ${inert(message.topic)} is not valid JSON`)
        else pieces.push(foreign ? show(value) : value)
      }
      return joined([...pieces, newline])
    }
  }
  // As mosquitto_sub: an empty payload shows as (null) beside its topic, and as nothing at all without one.
  if (verbose) {
    return ({ topic, payload }) => {
      const name = terminal ? inert(topic) : topic
      return payload.length === 0 ? `${name} (null)${newline}` : joined([name, ' ', show(payload), newline])
    }
  }
  return ({ payload }) => (payload.length === 0 ? '' : joined([show(payload), newline]))
}

function joined(pieces: readonly (string | Buffer)[]): Buffer | string {
  if (pieces.every((piece) => typeof piece === 'string')) return pieces.join('')
  return Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece)))
}
