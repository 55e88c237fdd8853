import { z } from 'zod'
import type { LogInCounts } from '../broker/door.ts'
import type { Bytes, Log } from '../host.ts'
import type { TenantReport } from '../broker/tenant-figures.ts'
import { type ClusterControl, type LeftBehind, Refusal, type RefusalCode } from './control.ts'

/** Version of the JSON's fields: it rises when one of them goes, or changes its meaning. */
const schemaVersion = 1

/** Largest body that a request may have. */
export const bodyBytes = 65_536

export interface Request {
  readonly method: string
  /** Path and query. */
  readonly target: string
  readonly header: (name: 'host' | 'authorization' | 'content-type') => string | undefined
  readonly body: Bytes
  /** Address and port. */
  readonly remote: string
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

type Counts = Readonly<Record<string, number>>

/** What was not let in since the start: numbers by why, under names that are ours. */
export interface Refusals {
  /** Connections that listeners have refused before CONNECT, and of those by `rate` which one. */
  readonly connections: Counts
  readonly rates: Counts
  readonly logIns: LogInCounts
  /** Clients, subscriptions and publishes, and connections closed for a fault, by the reason code of MQTT. */
  readonly reasons: Counts
}

export interface ApiOptions {
  readonly control: ClusterControl
  readonly tenants: () => TenantReport
  readonly refusals: () => Refusals
  readonly token: string
  readonly sameSecret: (a: string, b: string) => boolean
  /** The host that it was told to listen on. */
  readonly host: string
  readonly log: Log
  /** Told of each change that somebody asks for, before it is made. */
  readonly audited: (change: string, remote: string) => void
}

/** Said no: the status, a word for programs, and a sentence for people. */
class Denied extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message)
  }
}

type Handler = (asked: { readonly query: URLSearchParams; readonly body: Bytes }) => object | Promise<object>

interface Route {
  readonly handler: Handler
  /** What its query may name. */
  readonly parameters: readonly string[]
}

const statusOf: Record<RefusalCode, number> = {
  'no-cluster': 409,
  'no-such-node': 404,
  'not-possible': 409,
  'would-lose': 409,
}

/** What a request body may say. */
const bodies = {
  leave: z.strictObject({ force: z.boolean().default(false) }),
  drain: z.strictObject({ clientsPerSecond: z.number().min(0.1).max(1_000_000).default(100) }),
  evict: z.strictObject({ node: z.string().min(1).max(255) }),
}

/**
 * The admin API: JSON over HTTP, for whoever has the token.
 *
 *   GET  /ready                        200, or 503: no new clients here, please. Without a token: a load balancer asks
 *   GET  /v1/tenants                   what each tenant has on this node
 *   GET  /v1/refusals                  connections and log-ins that were refused, by why
 *   GET  /v1/cluster                   who is in it, and what waits for whom
 *   GET  /v1/cluster/routes[?verify]   the tables of filters; compared with those of the others
 *   POST /v1/cluster/leave             { force }: true, although sessions stay behind
 *   POST /v1/cluster/drain             { clientsPerSecond }: answers when it is done
 *   POST /v1/cluster/evict             { node }
 *
 * An error is { error: a word for programs, reason: a sentence for people }.
 */
export class AdminApi {
  readonly #options: ApiOptions
  /** By method and path. */
  readonly #routes = new Map<string, Route>()
  #intruders = 0

  constructor(options: ApiOptions) {
    this.#options = options
    const { control, tenants, refusals } = options
    this.#on('GET', '/v1/tenants', tenants)
    this.#on('GET', '/v1/refusals', refusals)
    this.#on('GET', '/v1/cluster', () => control.status())
    this.#on(
      'GET',
      '/v1/cluster/routes',
      async ({ query }) => {
        const tables = control.routes()
        return query.has('verify') ? { tables, verified: await control.verify() } : { tables }
      },
      ['verify'],
    )
    this.#on('POST', '/v1/cluster/leave', async ({ body }) => {
      const { force } = parse(bodies.leave, body)
      const lost = control.leftBehind()
      const why = force ? '' : staying(lost)
      if (why !== '') throw new Refusal('would-lose', `${why}; drain hands over what it can`)
      await control.leave()
      return { left: true, lost }
    })
    this.#on('POST', '/v1/cluster/drain', ({ body }) => control.drain(parse(bodies.drain, body).clientsPerSecond))
    this.#on('POST', '/v1/cluster/evict', ({ body }) => {
      const { node } = parse(bodies.evict, body)
      return { node, lost: control.evict(node) }
    })
  }

  /** Answers a request; never rejects. */
  async answer(request: Request): Promise<Answer> {
    try {
      this.#admitHost(request)
      if (request.target === '/ready') return this.#ready(request)
      this.#admit(request)
      return answerOf(200, await this.#handle(request))
    } catch (fault) {
      if (fault instanceof Denied) return errorAnswer(fault.status, fault.code, fault.message, fault.headers)
      if (fault instanceof Refusal) return errorAnswer(statusOf[fault.code], fault.code, fault.message)
      this.#options.log.error({ err: fault, method: request.method, target: request.target }, 'an admin request failed')
      return errorAnswer(500, 'failed', 'this is a bug in godwit; its log says more')
    }
  }

  #on(method: 'GET' | 'POST', path: string, handler: Handler, parameters: readonly string[] = []): void {
    this.#routes.set(`${method} ${path}`, { handler, parameters })
  }

  #ready({ method }: Request): Answer {
    if (method !== 'GET') throw new Denied(405, 'method', 'this path takes GET', { allow: 'GET' })
    const { state } = this.#options.control.status()
    return answerOf(state === 'serving' ? 200 : 503, { ready: state === 'serving', state })
  }

  #admitHost({ header }: Request): void {
    // A page in somebody's browser may point a name of its own at this address: what it then sends comes under that name.
    if (!isOurs(header('host'), this.#options.host))
      throw new Denied(403, 'host', 'the Host header is not an address of this listener, nor localhost')
  }

  #admit({ header }: Request): void {
    const { token, sameSecret, log } = this.#options
    const [scheme, given = ''] = (header('authorization') ?? '').split(' ')
    if (scheme?.toLowerCase() === 'bearer' && sameSecret(given, token)) return
    this.#intruders++
    // Each doubling once, so that nobody can fill the log.
    if ((this.#intruders & (this.#intruders - 1)) === 0)
      log.warn({ times: this.#intruders }, 'somebody asked the admin listener for something without its token')
    throw new Denied(401, 'unauthorized', 'the token is missing or wrong; it is in admin-token in the data folder', {
      'www-authenticate': 'Bearer',
    })
  }

  #handle({ method, target, header, body, remote }: Request): object | Promise<object> {
    const cut = target.indexOf('?')
    const path = cut < 0 ? target : target.slice(0, cut)
    const found = this.#routes.get(`${method} ${path}`)
    if (!found) {
      const allowed = ['GET', 'POST'].filter((other) => this.#routes.has(`${other} ${path}`))
      if (allowed.length === 0) throw new Denied(404, 'not-found', 'there is nothing at this path')
      const allow = allowed.join(', ')
      throw new Denied(405, 'method', `this path takes ${allow}`, { allow })
    }
    // A form of a web page cannot send JSON.
    if (body.length > 0 && header('content-type')?.split(';')[0]?.trim().toLowerCase() !== 'application/json')
      throw new Denied(415, 'content-type', 'a body must be application/json')
    const query = new URLSearchParams(cut < 0 ? '' : target.slice(cut))
    // What is asked for and not known must not look as if it had been heeded.
    for (const name of query.keys())
      if (!found.parameters.includes(name))
        throw new Denied(400, 'malformed', `this path knows no parameter ${JSON.stringify(name)}`)
    if (method === 'POST') this.#options.audited(`${path} ${Buffer.from(body).toString()}`.trim(), remote)
    return found.handler({ query, body })
  }
}

/** Says no in the API's own words; also to what is no request. */
export function errorAnswer(status: number, error: string, reason: string, headers: Answer['headers'] = {}): Answer {
  return answerOf(status, { error, reason }, headers)
}

function answerOf(status: number, fields: object, more: Answer['headers'] = {}): Answer {
  const headers = {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...more,
  }
  return { status, headers, body: `${JSON.stringify({ schemaVersion, ...fields })}\n` }
}

/** What would be lost, for people; nothing: ''. */
function staying({ sessions, messages, waiting }: LeftBehind): string {
  const served = `${sessions} sessions with ${messages} messages are on this node, and nobody would serve them`
  const queues = waiting.map(({ node, messages }) => `${messages} messages for ${node} wait here, and may reach nobody`)
  return [...(sessions > 0 ? [served] : []), ...queues].join('; ')
}

function parse<T>(schema: z.ZodType<T>, body: Bytes): T {
  let value: unknown
  try {
    value = body.length === 0 ? {} : JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    throw new Denied(400, 'malformed', 'the body is no JSON')
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new Denied(400, 'malformed', [issue?.path.join('.'), issue?.message].filter(Boolean).join(': '))
}

const loopbackNames = new Set(['localhost', 'localhost.'])

/** Is this Host header one that a page of somebody else's cannot have made? An address can be no name that was pointed here. */
function isOurs(header: string | undefined, host: string): boolean {
  const name = /^(\[[0-9a-f:.]+\]|[^:]+)(:[0-9]{1,5})?$/i.exec(header ?? '')?.[1]?.toLowerCase()
  if (name === undefined) return false
  const isAddress = name.startsWith('[') || /^[0-9]{1,3}(\.[0-9]{1,3}){3}$/.test(name)
  return isAddress || loopbackNames.has(name) || name === host.toLowerCase()
}
