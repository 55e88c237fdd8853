// What a few peers do to a broker, step by step: what is mutated, run, minimised and kept.

/** How many connections a script may have at a time. */
export const slots = 4

/**
 * One step. `send`: a chunk of bytes comes from the peer in a slot, which connects first if it has never; what a broker has
 * closed takes nothing more. `open`: another connection in that slot, the old one hangs up. `hang`: it closes without a word.
 * `stall`, `read`: its socket takes nothing, and takes all again. `answer`: from now on it acknowledges what comes, as it should.
 */
export type Step =
  | { readonly do: 'send'; readonly on: number; readonly bytes: Uint8Array }
  | { readonly do: 'open' | 'hang' | 'stall' | 'read' | 'answer'; readonly on: number }
  | { readonly do: 'wait'; readonly ms: number }

export type Script = readonly Step[]

/** What it sends. */
export function bytesOf(script: Script): number {
  return script.reduce((sum, step) => sum + (step.do === 'send' ? step.bytes.length : 0), 0)
}

const silent = /^(open|hang|stall|read|answer)$/

/**
 * Reads a script: a step a line, `#` begins a comment.
 *
 *   0 100d 00044d515454 04 02 0000 000163     bytes from slot 0, in hex, blanks allowed
 *   0 hang                                    or open, stall, read, answer
 *   wait 1500                                 milliseconds
 *
 * @throws when a line is none of these
 */
export function parseScript(text: string): Step[] {
  return text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
    .map(parseStep)
}

function parseStep(line: string): Step {
  const [, first = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? []
  if (first === 'wait' && /^\d+$/.test(rest)) return { do: 'wait', ms: Number(rest) }
  const on = Number(first)
  if (/^\d$/.test(first) && on < slots) {
    if (silent.test(rest)) return { do: rest as 'open', on }
    const hex = rest.replaceAll(' ', '')
    if (/^([0-9a-f]{2})+$/.test(hex)) return { do: 'send', on, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) }
  }
  throw new Error(`no step of a script: ${line}`)
}

export function printScript(script: Script): string {
  return script.map((step) => `${printStep(step)}\n`).join('')
}

function printStep(step: Step): string {
  if (step.do === 'wait') return `wait ${step.ms}`
  return `${step.on} ${step.do === 'send' ? Buffer.from(step.bytes).toString('hex') : step.do}`
}
