import type { Socket } from 'node:net'

// A node without a certificate, or with one that is near its end, asks a node that has the cluster's directory:
//
//   TLS, ALPN "godwit-join"     the server proves who it is; a client that has a certificate does, too
//   ▶ {"token":"…","node":"d","publicKey":"<SPKI, base64>"} ⏎      without a token: to renew the one that it shows
//   ◀ {"certificate":"<PEM>","authority":"<PEM>"} ⏎                or {"refused":"why"}

export const alpn = { link: 'godwit/1', join: 'godwit-join' } as const

export interface JoinRequest {
  readonly token?: string | undefined
  readonly node: string
  readonly publicKey: string
}

export type JoinAnswer = { readonly certificate: string; readonly authority: string } | { readonly refused: string }

/** Longest line that is read. */
const lineBytes = 16 * 1024

/** What a peer says in one line, as an object. Rejects when it says something else, too much, or nothing in time. */
export function readLine(socket: Socket, mostMs: number): Promise<object> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const end = (settle: () => void): void => {
      clearTimeout(timer)
      socket.off('data', take).off('error', fail).off('close', closed)
      settle()
    }
    const fail = (fault: Error): void => end(() => reject(fault))
    const closed = (): void => fail(new Error('it closed the connection'))
    const take = (chunk: Buffer): void => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > lineBytes) return fail(new Error('it says more than it should'))
      if (!chunk.includes(0x0a)) return
      try {
        const said: unknown = JSON.parse(Buffer.concat(chunks).toString())
        if (typeof said !== 'object' || said === null) throw new Error('no object')
        end(() => resolve(said))
      } catch {
        fail(new Error('it says what is no JSON'))
      }
    }
    const timer = setTimeout(() => fail(new Error('it does not answer in time')), mostMs)
    socket.on('data', take).on('error', fail).on('close', closed)
  })
}

export function writeLine(socket: Socket, said: JoinRequest | JoinAnswer): void {
  socket.write(`${JSON.stringify(said)}\n`)
}
