import net from 'node:net'
import type { Client } from './client.ts'
import type { Wire } from './sender.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

/** Connections of one source address: the kernel has about 28,000 ports for each. */
const perSource = 20_000

/** Opens a connection, gives its wire to `attach`, and its bytes to the client that comes back. */
export type Dial = (index: number, attach: (wire: Wire) => Client) => void

// All sockets read into one slab. What is left of a frame is put in front of the next bytes of its connection, so
// that frames are always contiguous and nothing is allocated for a read.
//
//   | headroom: … rest of a frame | bytes just read |
const headroomBytes = 1 << 17
const readBytes = 1 << 18

/** @param flushed called when the kernel took everything that a wire was given */
export function tcpDial(address: Address, flushed: () => void): Dial {
  const slab = Buffer.allocUnsafeSlow(headroomBytes + readBytes)
  const reading = slab.subarray(headroomBytes)
  const local = net.isIP(address.host) === 4 && address.host.startsWith('127.')

  return (index, attach) => {
    let rest: Buffer | undefined
    const receive = (count: number): boolean => {
      const end = headroomBytes + count
      if (rest !== undefined && rest.length > headroomBytes) {
        const joined = Buffer.concat([rest, reading.subarray(0, count)])
        rest = keep(joined, client.receive(joined, 0, joined.length), joined.length)
      } else {
        const from = headroomBytes - (rest?.length ?? 0)
        if (rest) slab.set(rest, from)
        rest = keep(slab, client.receive(slab, from, end), end)
      }
      return true
    }
    const source = Math.floor(index / perSource)
    const socket = net.connect({
      ...address,
      noDelay: true,
      ...(local && source > 0 ? { localAddress: `127.0.0.${source + 1}` } : {}),
      onread: { buffer: reading, callback: receive },
    })
    const client = attach({
      write: (bytes) => void socket.write(bytes, flushed),
      get pendingBytes() {
        return socket.writableLength
      },
      end: (bytes) => void socket.end(bytes),
      close: () => socket.destroy(),
    })
    let why = 'it closed the connection'
    socket.on('connect', () => client.open())
    socket.on('error', (error: NodeJS.ErrnoException) => (why = explain(error, address)))
    socket.on('close', () => client.closed(why))
  }
}

function keep(bytes: Buffer, from: number, to: number): Buffer | undefined {
  return from === to ? undefined : Buffer.from(bytes.subarray(from, to))
}

function explain(error: NodeJS.ErrnoException, { host, port }: Address): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return `nothing listens at ${host}:${port}`
    case 'EMFILE':
      return 'this process may not open more files: raise `ulimit -n`'
    default:
      return error.message
  }
}
