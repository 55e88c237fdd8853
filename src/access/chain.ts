import { BusyError } from '../host.ts'
import type { PasswordCheck } from './passwords.ts'
import type { Answer, Authenticator, Credentials, Decoys, Denial, Identity, Source } from './identity.ts'

/** What became of a log-in; `by`: who has decided, undefined when nobody knew these credentials. */
export type LogIn = { readonly identity: Identity } | (Denial & { readonly by: Source | undefined })

/**
 * Asks one authenticator after the other, in the order configured, until one knows these credentials.
 *
 *   users ─ not-mine ─▶ jwt ─ not-mine ─▶ http ─ not-mine ─▶ denied, after the work that a known user would have cost
 *     └ identity or denied: that is the answer
 */
export class Chain {
  readonly #authenticators: readonly Authenticator[]
  readonly #check: PasswordCheck

  constructor(authenticators: readonly Authenticator[], check: PasswordCheck) {
    this.#authenticators = authenticators
    this.#check = check
  }

  /** Never rejects: what goes wrong denies. */
  async authenticate(credentials: Credentials): Promise<LogIn> {
    for (const authenticator of this.#authenticators) {
      const answer = await answerOf(() => authenticator.authenticate(credentials))
      if (answer === 'not-mine') continue
      return 'identity' in answer ? answer : { ...answer, by: authenticator.source }
    }
    const { username, password } = credentials
    if (username === undefined) return { denied: 'nothing to say who it is', by: undefined }
    if (password === undefined) return { denied: 'no password', by: undefined }
    const busy = await answerOf(() => this.#decoy(username, password))
    return typeof busy === 'object' && 'denied' in busy
      ? { ...busy, by: undefined }
      : { denied: 'unknown user', by: undefined }
  }

  // As if the name were that of a known user, and each time of the same one, chosen by what nobody outside knows.
  async #decoy(username: string, password: Uint8Array): Promise<'not-mine'> {
    const all = this.#authenticators.flatMap(({ decoys }) => decoys ?? [])
    const count = all.reduce((sum, decoys) => sum + decoys.count, 0)
    let index = numberBelow(count, this.#check.made('decoy', username))
    const chosen = all.find((decoys: Decoys) => {
      if (index < decoys.count) return true
      index -= decoys.count
      return false
    })
    await (chosen ?? all[0])?.check(username, password, index)
    return 'not-mine'
  }
}

/** Whatever is thrown denies. But who could not be judged has not failed. */
async function answerOf(ask: () => Answer | Promise<Answer>): Promise<Answer> {
  try {
    return await ask()
  } catch (fault) {
    if (fault instanceof BusyError) return { denied: fault.message, busy: true }
    const why = fault instanceof Error ? fault.message : 'something was thrown'
    return { denied: `it cannot be checked: ${why}`, busy: true }
  }
}

function numberBelow(count: number, bytes: Uint8Array): number {
  return count === 0 ? 0 : Buffer.from(bytes).readUIntBE(0, 6) % count
}
