import { request } from 'node:http'
import { Command } from 'commander'
import { hostPortText, parseHostPort } from '../../config/host-port.ts'
import { announcedAdmin, readToken, tokenFileOf } from '../../platform/admin-files.ts'
import { usage } from '../flags.ts'
import { CliError, Exit, type Io } from '../io.ts'
import { inert } from '../terminal.ts'

/** How a command finds the node that it is about. */
export interface AdminFlags {
  readonly data?: string
  readonly admin?: string
  readonly tokenFile?: string
}

/** A command that talks to a node. */
export function adminCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .helpOption('--help', 'show this')
    .option('--data <directory>', 'of the node that is asked; default: GODWIT_DATA, ./godwit-data')
    .option('--admin <host:port>', 'its admin listener, where the directory is not at hand')
    .option('--token-file <file>', 'with the token; default: GODWIT_ADMIN_TOKEN_FILE, admin-token in the directory')
}

/** What the node said no with. */
export class AdminRefusal extends CliError {
  constructor(
    exit: Exit,
    readonly error: string,
    message: string,
  ) {
    super(exit, message)
  }
}

/** Longest wait for an answer, unless the request is one that takes its time. */
const patienceMs = 15_000

/** More than any answer of a thousand nodes. */
const mostBytes = 16 * 1024 * 1024

/** Asks one node's admin listener. */
export class AdminClient {
  readonly #url: URL
  readonly #token: string

  private constructor(url: URL, token: string) {
    this.#url = url
    this.#token = token
  }

  /** @throws CliError when there is no node, or no token for it, to be found */
  static async of(flags: AdminFlags, env: Io['env']): Promise<AdminClient> {
    const data = flags.data ?? (env['GODWIT_DATA'] || './godwit-data')
    const tokenFile = flags.tokenFile ?? (env['GODWIT_ADMIN_TOKEN_FILE'] || tokenFileOf(data))
    const url = flags.admin === undefined ? await announced(data) : named(flags.admin)
    try {
      return new AdminClient(url, readToken(tokenFile))
    } catch (fault) {
      if ((fault as Error).name !== 'AdminTokenError') throw fault
      throw new CliError(Exit.data, (fault as Error).message)
    }
  }

  get<T>(path: string): Promise<T> {
    return this.#ask('GET', path, undefined, patienceMs)
  }

  /** @param mostMs Infinity: it takes as long as it takes */
  post<T>(path: string, body: object, mostMs = patienceMs): Promise<T> {
    return this.#ask('POST', path, body, mostMs)
  }

  async #ask<T>(method: string, path: string, body: object | undefined, mostMs: number): Promise<T> {
    const { status, text } = await this.#exchange(method, path, body, mostMs)
    let answer: { readonly error?: unknown; readonly reason?: unknown }
    try {
      answer = Object(JSON.parse(text)) as object
    } catch {
      throw new CliError(Exit.failure, `what answers at ${this.#url.origin} is no admin listener of godwit`)
    }
    if (status === 200) return answer as T
    const { error, reason } = answer
    const word = typeof error === 'string' ? error : String(status)
    throw new AdminRefusal(exitOf(status), word, inert(typeof reason === 'string' ? reason : `it answered ${status}`))
  }

  #exchange(
    method: string,
    path: string,
    body: object | undefined,
    mostMs: number,
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const { hostname, port, origin } = this.#url
      const json = body && JSON.stringify(body)
      const asked = request({
        host: hostname.replace(/^\[|\]$/g, ''),
        port,
        method,
        path,
        agent: false,
        headers: {
          host: this.#url.host,
          authorization: `Bearer ${this.#token}`,
          ...(json !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) }),
        },
      })
      const late = () => asked.destroy(new CliError(Exit.timeout, `no answer from ${origin} in time`))
      const timer = Number.isFinite(mostMs) ? setTimeout(late, mostMs) : undefined
      asked.on('error', (fault: Error & { code?: string }) => {
        clearTimeout(timer)
        reject(fault instanceof CliError ? fault : new CliError(Exit.failure, failure(origin, fault)))
      })
      asked.on('response', (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          chunks.push(chunk)
          if (bytes > mostBytes) asked.destroy(new Error('its answer is too long'))
        })
        response.on('end', () => {
          clearTimeout(timer)
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() })
        })
        response.on('error', (fault) => reject(new CliError(Exit.failure, failure(origin, fault))))
      })
      asked.end(json)
    })
  }
}

function failure(origin: string, { code, message }: Error & { code?: string }): string {
  if (code === 'ECONNREFUSED') return `nothing answers at ${origin}: is the node running?`
  if (code === 'ECONNRESET') return `${origin} closed the connection without an answer: the node may have ended`
  return `${origin}: ${message}`
}

async function announced(data: string): Promise<URL> {
  const text = await announcedAdmin(data)
  const url = text?.startsWith('http://') && URL.canParse(text) ? new URL(text) : undefined
  if (!url)
    throw new CliError(
      Exit.failure,
      `no node with an admin listener runs on ${data}: name the directory of one with --data, or its address with --admin; one that was started with --admin off has none`,
    )
  // Every address of a machine is also one that it can dial.
  if (url.hostname === '0.0.0.0') url.hostname = '127.0.0.1'
  if (url.hostname === '[::]') url.hostname = '[::1]'
  return url
}

function named(text: string): URL {
  const address = parseHostPort(text)
  if (typeof address === 'string') throw usage(`--admin: ${JSON.stringify(text)}: ${address}`)
  return new URL(`http://${hostPortText(address)}`)
}

function exitOf(status: number): Exit {
  if (status === 404) return Exit.notFound
  return status >= 500 ? Exit.failure : Exit.refused
}
