import type { Bytes, Stream } from '../../src/host.ts'
import type { Connection } from '../../src/mqtt/connection.ts'
import { MqttError, reasonName } from '../../src/mqtt/reason.ts'
import type { Session } from '../../src/sessions/session.ts'
import { cut, reference } from '../mqtt/reference.ts'
import { answersTo } from './answers.ts'
import { Finding } from './finding.ts'

let count = 0

/** One connection of a script: the peer's end of the stream, and what it saw. */
export class Peer implements Stream {
  /** Not all from one address: who fails there makes the others wait. */
  readonly remote = `fuzz-${++count % 50}:${count}`
  connection!: Connection<Session>
  /** It acknowledges what comes. */
  answers = false
  /** Its socket takes nothing. */
  stalled = false
  /** The broker has closed the stream. */
  ended = false
  /** Why the connection is over, as the broker was told; 'open' until then. */
  fault: Error | undefined | 'open' = 'open'
  /** The packet that came last began with this byte. */
  lastFirst = 0
  /** Of what it was sent, once it was checked. */
  readonly topics = new Set<string>()
  #destroyed = false
  #left = false
  #paused = false
  #inbox: Bytes[] = []
  #sent: Uint8Array[] = []
  #came: Uint8Array[] = []
  #untaken: (() => void)[] = []
  /** How much of what came has been looked at for `answers`. */
  #seen = 0

  get open(): boolean {
    return !this.ended && !this.#left
  }

  // The broker's end.

  write(bytes: Bytes, written: () => void): void {
    if (this.ended) throw new Finding('write after end', 'the broker wrote to a stream that it had ended')
    this.#came.push(Buffer.from(bytes))
    this.#untaken.push(written)
  }

  pause(paused: boolean): void {
    this.#paused = paused
  }

  end(): void {
    this.ended = true
  }

  destroy(): void {
    this.ended = this.#destroyed = true
  }

  // The peer's end.

  send(bytes: Uint8Array): void {
    if (!this.open) return
    this.#sent.push(bytes)
    if (this.#paused) this.#inbox.push(bytes)
    else this.connection.data(bytes)
  }

  hangUp(): void {
    if (this.#left) return
    this.#left = true
    this.connection.closed()
  }

  /** The broker's process is gone. */
  vanish(): void {
    this.#left = true
    if (this.fault === 'open') this.fault = undefined
  }

  /** The network does what is to be done. False when that was nothing. */
  settle(): boolean {
    let moved = false
    if (!this.stalled || this.#destroyed || this.#left) {
      const taken = this.#untaken
      this.#untaken = []
      for (const written of taken) written()
      moved = taken.length > 0
    }
    if (!this.#paused && this.#inbox.length > 0) {
      moved = true
      const inbox = this.#inbox
      this.#inbox = []
      for (const bytes of inbox)
        if (this.#paused) this.#inbox.push(bytes)
        else this.connection.data(bytes)
    }
    if (this.ended && !this.#left && this.#untaken.length === 0) {
      this.#left = moved = true
      this.connection.closed()
    }
    if (this.answers && this.open && this.#reply()) moved = true
    return moved
  }

  /** Acknowledges what came since the last time. */
  #reply(): boolean {
    if (this.#seen === this.#came.length || this.connection.state !== 'connected') return false
    const bytes = Buffer.concat(this.#came.slice(this.#seen))
    this.#seen = this.#came.length
    const replies: number[] = []
    for (const { bytes: frame, body } of cut(bytes)) {
      const first = frame[0]!
      const qos = (first >> 1) & 3
      const idAt = first >> 4 === 3 ? body + 2 + frame[body]! * 256 + frame[body + 1]! : body
      const reply =
        first >> 4 === 3 && qos > 0 ? 0x30 + qos * 0x10 : first >> 4 === 5 ? 0x62 : first >> 4 === 6 ? 0x70 : 0
      if (reply > 0) replies.push(reply, 2, frame[idAt]!, frame[idAt + 1]!)
    }
    if (replies.length > 0) this.send(Uint8Array.from(replies))
    return replies.length > 0
  }

  /** Everything that came since the last time; only for one that is never checked. */
  heard(): Buffer {
    const came = this.#came
    this.#came = []
    this.#sent = []
    this.#seen = 0
    return Buffer.concat(came)
  }

  // What must hold.

  /** Everything that the broker said is well-formed, and answers what it was asked, in order; PINGRESP at the latest in its place. */
  check(): void {
    const frames = cut(Buffer.concat(this.#came))
    const { version } = this.connection
    const given: string[] = []
    let over = false
    let spoken = false
    for (const { bytes, total } of frames) {
      const show = Buffer.from(bytes.subarray(0, 200)).toString('hex')
      if (total !== bytes.length) throw new Finding('half a packet', show)
      if (over) throw new Finding('words after the last one', show)
      const type = bytes[0]! >> 4
      if (!spoken && type !== 2 && type !== 15) throw new Finding('the first packet', show)
      spoken = true
      const read = reference(bytes, version)?.packet
      if (read === undefined) throw new Finding('bad packet of the broker', `${version} ${show}`)
      if (read.cmd === 'publish') this.topics.add(read.topic)
      if (read.cmd === 'disconnect') over = true
      else if (read.cmd === 'connack') {
        over = (version === 5 ? read.reasonCode : read.returnCode) !== 0
        if (!over) given.push('greeting')
      } else if (read.cmd === 'auth') given.push('greeting')
      else if (read.cmd === 'suback') given.push(`suback ${read.messageId} of ${read.granted.length}`)
      else if (read.cmd !== 'publish' && read.cmd !== 'pubrel') given.push(`${read.cmd} ${read.messageId ?? ''}`.trim())
    }
    this.#checkAnswers(given)
    this.#checkEnd()
  }

  #checkAnswers(given: readonly string[]): void {
    const due = answersTo(Buffer.concat(this.#sent), this.connection.version)
    const patient = this.fault === 'open' && !this.stalled && !this.#paused && this.connection.unreadBytes === 0
    const [said, owed] = [apart(given), apart(due)]
    const right =
      said.others.every((answer, at) => answer === owed.others[at]) &&
      said.behind.every((others, at) => others <= (owed.behind[at] ?? -1)) &&
      (!patient || given.length === due.length)
    if (!right) throw new Finding('wrong answers', `due: ${due.join(', ')}; given: ${given.join(', ')}`)
  }

  #checkEnd(): void {
    const { fault } = this
    if (fault === 'open') {
      if (this.ended) throw new Finding('end without a reason', 'the stream is closed, and the connection is not')
      return
    }
    if (fault instanceof MqttError) {
      if (!/^MQTT-\d/.test(fault.clause) || reasonName(fault.reason).startsWith('0x'))
        throw new Finding('no clause', `${fault.clause}, ${fault.reason}: ${fault.message}`)
      return
    }
    if (fault === undefined || orderly.test(fault.message)) return
    throw new Finding('no reason', fault.message, { cause: fault })
  }
}

/** Answers without PINGRESP, and behind how many of them each PINGRESP stands: it may overtake what waits for the disk. */
function apart(answers: readonly string[]): { others: string[]; behind: number[] } {
  const others: string[] = []
  const behind: number[] = []
  for (const answer of answers)
    if (answer === 'pingresp') behind.push(others.length)
    else others.push(answer)
  return { others, behind }
}

// Ends that are no fault of the protocol.
const orderly =
  /^(sent away: \w+|the client left(: \w+| before CONNACK)|the client closed without DISCONNECT|\w+ is larger than the client accepts)$/
