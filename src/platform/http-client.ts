import { Agent as HttpAgent, type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { HttpService } from '../host.ts'

export interface HttpClientOptions {
  /** http: or https:. */
  readonly url: string
  /** For all of it: finding the host, connecting, the answer to its last byte. */
  readonly timeoutMs: number
  /** Goes into the Authorization header. */
  readonly token?: string | undefined
  /** PEM of authorities, instead of those of the system. */
  readonly ca?: string | undefined
  /** Connections that are kept. */
  readonly sockets: number
}

const mostBytes = 65_536

/** Posts JSON to one URL. It follows no redirection: who has the token is who was named. */
export class HttpClient implements HttpService {
  readonly #options: HttpClientOptions
  readonly #agent: HttpAgent | HttpsAgent
  readonly #url: URL

  constructor(options: HttpClientOptions) {
    this.#options = options
    this.#url = new URL(options.url)
    const kept = { keepAlive: true, maxSockets: options.sockets, maxFreeSockets: options.sockets }
    this.#agent =
      this.#url.protocol === 'https:'
        ? new HttpsAgent({ ...kept, minVersion: 'TLSv1.2', ...(options.ca !== undefined && { ca: options.ca }) })
        : new HttpAgent(kept)
  }

  post(json: string): Promise<{ readonly status: number; readonly body: Uint8Array }> {
    const body = Buffer.from(json)
    return new Promise((resolve, reject) => {
      const request = this.#request(body.length)
      let late: Error | undefined
      // Of its own: a socket's time limit begins anew with each byte.
      const timer = setTimeout(() => {
        late = new Error(`no answer within ${this.#options.timeoutMs} ms`)
        request.destroy(late)
      }, this.#options.timeoutMs)
      const failed = (fault: Error): void => {
        clearTimeout(timer)
        reject(late ?? fault)
      }
      request.once('error', failed)
      request.once('response', (response) => {
        collect(response).then(
          (answer) => {
            clearTimeout(timer)
            resolve(answer)
          },
          (fault: Error) => {
            failed(fault)
            request.destroy()
          },
        )
      })
      request.end(body)
    })
  }

  /** Closes what is kept, and what is under way. */
  close(): void {
    this.#agent.destroy()
  }

  #request(length: number): ClientRequest {
    const { token } = this.#options
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json',
      'content-length': length,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    }
    const send = this.#url.protocol === 'https:' ? httpsRequest : httpRequest
    return send(this.#url, { method: 'POST', agent: this.#agent, headers })
  }
}

async function collect(response: IncomingMessage): Promise<{ status: number; body: Uint8Array }> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > mostBytes) throw new Error(`an answer of more than ${mostBytes} bytes`)
    chunks.push(chunk)
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks) }
}
