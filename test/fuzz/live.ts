import { createConnection, type Socket } from 'node:net'
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { SeededRandom } from '../support/random.ts'
import { mutateScript } from './mutations.ts'
import { scenes } from './scenes.ts'
import { type Script, slots } from './script.ts'

/** Scripts that run at a time. */
const atOnce = 16

/** One end of a connection over the network, for bytes that may be anything. */
interface Wire {
  readonly open: boolean
  send(bytes: Uint8Array): void
  pause(paused: boolean): void
  /** Leaves, and is done when the connection is gone. */
  leave(): Promise<void>
}

/**
 * Runs mutated scripts on a broker over its sockets, until `wanted` packets were sent to open connections. Waiting is left out,
 * so that what is left to time is little; a script's connections take turns between TCP and WebSocket.
 * @param checked called after each handful, with nobody of ours connected: is the broker as it was?
 */
export async function bombard(
  target: { readonly port: number; readonly ws: string },
  { wanted, seed, checked }: { readonly wanted: number; readonly seed: number; readonly checked: () => Promise<void> },
): Promise<{ frames: number; connections: number }> {
  const random = new SeededRandom(seed)
  const pool = scenes()
  const total = { frames: 0, connections: 0 }
  while (total.frames < wanted) {
    const scripts = Array.from({ length: atOnce }, () => mutateScript(random, pool))
    await Promise.all(scripts.map((script, at) => perform(script, target, at, total)))
    await checked()
  }
  return total
}

async function perform(
  script: Script,
  target: { readonly port: number; readonly ws: string },
  at: number,
  total: { frames: number; connections: number },
): Promise<void> {
  const wires = new Array<Wire | undefined>(slots).fill(undefined)
  const gone: Promise<void>[] = []
  const dial = async (on: number): Promise<Wire> => {
    total.connections++
    const wire = await ((at + on) % 4 === 0 ? dialWebSocket(target.ws) : dialTcp(target.port))
    wires[on] = wire
    return wire
  }
  for (const step of script) {
    if (step.do === 'wait') continue
    const wire = wires[step.on]
    if (step.do === 'send') {
      const open = wire ?? (await dial(step.on))
      if (!open.open) continue
      total.frames++
      open.send(step.bytes)
      // The broker's word comes between one packet and the next.
      await new Promise((resolve) => setImmediate(resolve))
    } else if (step.do === 'open' || step.do === 'hang') {
      if (wire) gone.push(wire.leave())
      wires[step.on] = undefined
      if (step.do === 'open') await dial(step.on)
    } else if (step.do !== 'answer') wire?.pause(step.do === 'stall')
  }
  for (const wire of wires) if (wire) gone.push(wire.leave())
  await Promise.all(gone)
}

async function dialTcp(port: number): Promise<Wire> {
  const socket: Socket = createConnection({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  socket.resume()
  const closed = closeOf(socket)
  await once(socket, 'connect')
  return {
    get open() {
      return socket.writable
    },
    send: (bytes) => void socket.write(bytes),
    pause: (paused) => void (paused ? socket.pause() : socket.resume()),
    async leave() {
      // What is being ended by both sides cannot be reset any more.
      if (socket.writableEnded) socket.destroy()
      else socket.resetAndDestroy()
      await closed
    },
  }
}

async function dialWebSocket(url: string): Promise<Wire> {
  const socket = new WebSocket(url, 'mqtt')
  socket.on('error', () => {})
  const closed = closeOf(socket)
  await once(socket, 'open')
  return {
    get open() {
      return socket.readyState === WebSocket.OPEN
    },
    send: (bytes) => socket.send(bytes),
    pause: (paused) => (paused ? socket.pause() : socket.resume()),
    async leave() {
      // One that is paused would never hear of its end.
      if (socket.isPaused) socket.resume()
      socket.terminate()
      await closed
    },
  }
}

/** However it ends: a broker may reset what we are about to leave. */
function closeOf(socket: Socket | WebSocket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve())
  })
}
