import { connect } from 'node:net'
import type { Refusals } from '../../src/admin/api.ts'
import type { Log } from '../../src/host.ts'

/** A log that remembers its lines. */
export function recordedLog(): { readonly log: Log; readonly lines: object[] } {
  const lines: object[] = []
  const write = (fields: object, message: string) => void lines.push({ ...fields, message })
  return { log: { debug: write, info: write, warn: write, error: write }, lines }
}

/** All that is answered to some bytes, until the listener closes the connection. */
export function exchange(url: string, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1' })
    let answer = ''
    socket.on('data', (chunk) => (answer += chunk.toString()))
    // A reset behind the answer is an end, too.
    socket.on('error', () => {})
    socket.on('close', () => resolve(answer))
    socket.write(text)
  })
}

/** A request up to its body; the connection closes behind the answer. */
export function requestHead(
  url: string,
  token: string,
  method: string,
  path: string,
  more: readonly string[] = [],
): string {
  return [
    `${method} ${path} HTTP/1.1`,
    `host: ${new URL(url).host}`,
    `authorization: Bearer ${token}`,
    'connection: close',
    ...more,
    '\r\n',
  ].join('\r\n')
}

/** Of a node that has refused nobody. */
export function noRefusals(): Refusals {
  const logIns = { denied: {} as Refusals['logIns']['denied'], waited: 0, waiting: 0, failing: 0, forgotten: 0 }
  return { connections: {}, rates: {}, logIns, reasons: {} }
}
