import type { Audit } from '../access/audit.ts'
import type { Chain } from '../access/chain.ts'
import type { ScramExchange } from '../access/scram.ts'

/** Whom the broker asks who a client is, and tells what came of it. A reload puts others here: read anew each time. */
export interface Access {
  /** Undefined: nobody has to say who it is. */
  logIns: LogInSources | undefined
  audit: Audit | undefined
}

export interface LogInSources {
  readonly chain: Pick<Chain, 'authenticate'>
  /** Begins a log-in by SCRAM-SHA-256; undefined: nobody can. */
  readonly scram: (() => ScramExchange) | undefined
  /** Has each user client ids of its own? Else one that another user's session has is refused. */
  readonly separate: boolean
}
