import type { Judge } from './identity.ts'

// Who has logged in, who was refused what, who has changed something: a line of JSON each.
//
//   {"time":"2026-11-21T08:00:00.000Z","event":"log-in-denied","client":"c1","user":"anna",…}

/** Who it is about. */
export interface Party {
  readonly clientId?: string | undefined
  readonly user?: string | undefined
  readonly tenant?: string | undefined
  /** Address and port. */
  readonly remote?: string | undefined
  readonly protocol?: string | undefined
}

export type AuditEvent =
  | { readonly event: 'log-in'; readonly party: Party; readonly by: Judge }
  | {
      readonly event: 'log-in-denied'
      readonly party: Party
      readonly by: Judge | undefined
      readonly why: string
      readonly more?: number
    }
  /** A packet that permissions refuse. */
  | {
      readonly event: 'refused'
      readonly party: Party
      readonly action: string
      readonly topic: string
      readonly why: string
      /** So many like it came since, or before it, and have no lines of their own. */
      readonly more?: number
    }
  /** So many others, of too many kinds to count each. */
  | { readonly event: 'not-listed'; readonly party: Party; readonly more: number }
  /** Something that an operator did. */
  | { readonly event: 'administration'; readonly party: Party; readonly action: string; readonly target?: string }

/** Where the lines go. */
export interface AuditSink {
  /** Takes a line, which ends with its newline; false when it has no room, and the line is lost. */
  write(line: string): boolean
}

const longest = 256
/** Kinds of refusals that are counted apart, between two calls of `flush`. */
const mostKinds = 1000

/** What somebody may be refused as often as it likes to try. */
export type Refusal = Extract<AuditEvent, { event: 'refused' | 'log-in-denied' }>

/** Writes them. There is no field for a secret: what a party shows to prove who it is never comes here. */
export class Audit {
  readonly #sink: AuditSink
  readonly #time: () => string
  readonly #kinds = new Map<string, { readonly event: Refusal; more: number }>()
  #unlisted = 0
  #lost = 0
  #unsaid = 0

  /** @param time now, as ISO 8601 has it */
  constructor(sink: AuditSink, time: () => string) {
    this.#sink = sink
    this.#time = time
  }

  /** Lines that the sink had no room for. */
  get lost(): number {
    return this.#lost
  }

  /**
   * Of refusals of one kind the first has a line, and at the next `flush` there is one that counts the others: nobody fills the
   * disk with what is refused.
   * @param kind who and what, as text
   */
  refused(kind: string, event: () => Refusal): void {
    const known = this.#kinds.get(kind)
    if (known) known.more++
    else if (this.#kinds.size >= mostKinds) this.#unlisted++
    else {
      const first = event()
      this.#kinds.set(kind, { event: first, more: 0 })
      this.write(first)
    }
  }

  /** To be called every some seconds. */
  flush(): void {
    for (const { event, more } of this.#kinds.values()) if (more > 0) this.write({ ...event, more })
    if (this.#unlisted > 0) this.write({ event: 'not-listed', party: {}, more: this.#unlisted })
    this.#kinds.clear()
    this.#unlisted = 0
  }

  write(event: AuditEvent): void {
    const { party, event: name, ...more } = event
    const lost = this.#unsaid > 0 ? { lostBefore: this.#unsaid } : {}
    const { clientId, user, tenant, remote, protocol } = party
    const who = { client: clientId, user, tenant, remote, protocol }
    if (this.#sink.write(`${escaped({ time: this.#time(), event: name, ...who, ...more, ...lost })}\n`)) {
      this.#unsaid = 0
      return
    }
    this.#lost++
    this.#unsaid++
  }
}

// What JSON leaves as it is, and what could act on a terminal or make a line look like another.
const active = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]/g

function escaped(record: object): string {
  const text = JSON.stringify(record, (_key, value: unknown) => (typeof value === 'string' ? cut(value) : value))
  return text.replace(active, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function cut(text: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest)}… (${text.length} characters)`
}
