import { pino, type Logger } from 'pino'
import type { LogLevel } from '../config/log-level.ts'
import type { Screen } from './io.ts'
import { inert } from './terminal.ts'

/** The log of a node: JSON lines for programs, short lines when a person sits at the other end. */
export function createLog(level: LogLevel, stderr: Screen): Logger {
  const settings = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  return pino(settings, stderr.isTTY ? { write: (line: string) => void stderr.write(shortLine(line)) } : stderr)
}

/** `12:03:44 warn  client refused reason="not authorized"`. Text from clients is among the fields, so nothing in it acts. */
function shortLine(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as { level: string; time: string; msg?: string }
  const clock = new Date(time).toTimeString().slice(0, 8)
  const details = Object.entries(fields).map(([name, value]) => ` ${name}=${shortValue(value)}`)
  return `${clock} ${level.padEnd(5)} ${inert(`${msg ?? ''}${details.join('')}`)}\n`
}

function shortValue(value: unknown): string {
  if (typeof value === 'string') return /^[\w./:@#+-]+$/.test(value) ? value : JSON.stringify(value)
  // An error's stack is for the JSON log.
  if (typeof value === 'object' && value !== null && 'stack' in value && 'message' in value)
    return JSON.stringify(value.message)
  return JSON.stringify(value)
}
