import { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import type { Log } from '../host.ts'
import { type ClusterDirectory, JoinRefusal, parseApplicant } from './cluster-directory.ts'
import { certified } from './cluster-names.ts'
import { type JoinAnswer, type JoinRequest, readLine, writeLine } from './join-wire.ts'

const patienceMs = 10_000

/** Answers somebody who wants a certificate, and closes. @param directory undefined: it is on another machine */
export async function answerJoin(socket: TLSSocket, directory: ClusterDirectory | undefined, log: Log): Promise<void> {
  const remote = `${socket.remoteAddress}:${socket.remotePort}`
  try {
    const request = (await readLine(socket, patienceMs)) as Partial<Record<keyof JoinRequest, unknown>>
    const answer = await answerTo(request, socket, directory)
    if ('refused' in answer) log.warn({ remote, why: answer.refused }, 'a node wanted to join, and was refused')
    else log.info({ remote, node: request.node }, 'a node was given its certificate')
    writeLine(socket, answer)
  } catch (fault) {
    log.warn({ remote, err: (fault as Error).message }, 'a node wanted to join, and could not be answered')
  }
  socket.end()
  socket.setTimeout(patienceMs, () => socket.destroy())
}

async function answerTo(
  { token, node: name, publicKey: key }: Partial<Record<keyof JoinRequest, unknown>>,
  socket: TLSSocket,
  directory: ClusterDirectory | undefined,
): Promise<JoinAnswer> {
  try {
    if (!directory)
      throw new JoinRefusal('this node cannot issue certificates: ask one that was started with --cluster DIR')
    const { node, publicKey } = parseApplicant(name, key)
    if (typeof token !== 'string' && !isProven(socket, directory, node))
      throw new JoinRefusal('a token is needed: godwit cluster token makes one')
    const certificate =
      typeof token === 'string'
        ? await directory.redeem(token, node, publicKey)
        : await directory.renew(node, publicKey)
    return { certificate, authority: directory.certificate }
  } catch (fault) {
    if (fault instanceof JoinRefusal) return { refused: fault.message }
    throw fault
  }
}

/** Does its certificate say that it is `node`? */
function isProven(socket: TLSSocket, { clusterId }: ClusterDirectory, node: string): boolean {
  const shown = socket.authorized ? socket.getPeerX509Certificate() : undefined
  const whose = shown && certified(new X509Certificate(shown.raw))
  return whose?.clusterId === clusterId && whose.node === node
}
