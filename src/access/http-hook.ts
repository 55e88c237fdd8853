import type { Bytes, Clock, Digests, HttpService, Random } from '../host.ts'
import { identityOf, type Said } from './claims.ts'
import type { Answer, Authenticator, Credentials, Identity } from './identity.ts'

export interface HttpHookSettings {
  /** Questions at the same time, and how many more may wait. */
  readonly concurrency: number
  readonly waiting: number
  /** How long a yes is remembered, and how many are. */
  readonly cacheSeconds: number
  readonly cacheEntries: number
}

interface Remembered {
  readonly identity: Identity
  readonly untilMs: number
}

/**
 * Asks a service of the operator's:
 *
 *   { clientId, user, password, remote, protocol } ─▶ { result: allow | deny | ignore, user?, tenant?, groups?, permissions?, expiresAt? }
 *
 * Whatever is no such answer denies: another status, a redirection, an answer that is late. Where there is none, or its status says that the service
 * has a fault, the client has not failed.
 */
export class HttpHook implements Authenticator {
  readonly source = 'http'
  readonly #service: HttpService
  readonly #digests: Digests
  readonly #clock: Pick<Clock, 'now' | 'wall'>
  readonly #settings: HttpHookSettings
  readonly #key: Bytes
  /** Only what was allowed; the oldest stands first. */
  readonly #remembered = new Map<string, Remembered>()
  /** Questions that are not answered yet: the same one is not asked twice at a time. */
  readonly #open = new Map<string, Promise<Answer>>()
  readonly #queue: (() => void)[] = []
  #asking = 0
  #refused = 0

  constructor(
    service: HttpService,
    digests: Digests,
    random: Random,
    clock: Pick<Clock, 'now' | 'wall'>,
    settings: HttpHookSettings,
  ) {
    this.#service = service
    this.#digests = digests
    this.#clock = clock
    this.#settings = settings
    this.#key = random.bytes(32)
  }

  /** Log-ins that were refused because too many waited. */
  get refused(): number {
    return this.#refused
  }

  get remembered(): number {
    return this.#remembered.size
  }

  authenticate(credentials: Credentials): Answer | Promise<Answer> {
    const question = questionOf(credentials)
    if (question === undefined) return { denied: 'http: a password that is no text' }
    const key = this.#keyOf(question)
    const known = this.#fresh(key)
    if (known) return { identity: known }
    const open = this.#open.get(key)
    if (open) return open
    const { concurrency, waiting } = this.#settings
    if (this.#asking >= concurrency && this.#queue.length >= waiting) {
      this.#refused++
      return { denied: 'http: too many questions wait', busy: true }
    }
    const asking = this.#ask(credentials, question, key).finally(() => this.#open.delete(key))
    this.#open.set(key, asking)
    return asking
  }

  async #ask(credentials: Credentials, question: string, key: string): Promise<Answer> {
    if (this.#asking >= this.#settings.concurrency) await new Promise<void>((go) => this.#queue.push(go))
    else this.#asking++
    try {
      const answer = answerOf(await this.#service.post(question), credentials)
      if (typeof answer === 'object' && 'identity' in answer) return this.#good(credentials, key, answer.identity)
      return answer
    } finally {
      // The place goes to the next, or is free.
      const next = this.#queue.shift()
      if (next) next()
      else this.#asking--
    }
  }

  #good({ idIsOurs }: Credentials, key: string, identity: Identity): Answer {
    const leftMs = identity.expiresAt === undefined ? Infinity : identity.expiresAt * 1000 - this.#clock.wall()
    if (leftMs <= 0) return { denied: 'http: what it allows is over already' }
    const { cacheSeconds, cacheEntries } = this.#settings
    // Of an id that never comes again it would only take the place of others.
    if (cacheSeconds === 0 || cacheEntries === 0 || idIsOurs) return { identity }
    const untilMs = this.#clock.now() + Math.min(leftMs, cacheSeconds * 1000)
    this.#remembered.delete(key)
    this.#remembered.set(key, { identity, untilMs })
    if (this.#remembered.size > cacheEntries) this.#remembered.delete(this.#remembered.keys().next().value!)
    return { identity }
  }

  #fresh(key: string): Identity | undefined {
    const known = this.#remembered.get(key)
    if (!known) return undefined
    if (this.#clock.now() < known.untilMs) return known.identity
    this.#remembered.delete(key)
    return undefined
  }

  #keyOf(question: string): string {
    return Buffer.from(this.#digests.hmacSha256(this.#key, Buffer.from(question))).toString('base64')
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Without the port, which is another at each connection. */
function questionOf({ clientId, username, password, remote, protocol }: Credentials): string | undefined {
  try {
    const address = remote.replace(/:[0-9]+$/, '')
    const secret = password && utf8.decode(password)
    return JSON.stringify({ clientId, user: username, password: secret, remote: address, protocol })
  } catch {
    return undefined
  }
}

function answerOf({ status, body }: { status: number; body: Bytes }, { username }: Credentials): Answer {
  // A fault of the service's own says nothing of the client.
  if (status !== 200)
    return { denied: `http: the answer has the status ${status}`, ...(status >= 500 && { busy: true }) }
  let answer: unknown
  try {
    answer = JSON.parse(utf8.decode(body))
  } catch {
    return { denied: 'http: the answer is no JSON' }
  }
  const { result, ...said } = (answer ?? {}) as Partial<Said> & { readonly result?: unknown }
  if (result === 'ignore') return 'not-mine'
  if (result === 'deny') return { denied: 'http: denied' }
  if (result !== 'allow') return { denied: 'http: the answer has no result: allow, deny or ignore' }
  const identity = identityOf({ ...said, user: said.user ?? username }, 'http', 'HTTP hook')
  return typeof identity === 'string' ? { denied: `http: ${identity}` } : { identity }
}
