import type { ISubscribePacket } from 'mqtt-packet'
import type { QoS } from '../../src/mqtt/topic.ts'
import type { ClientParts } from './client.ts'
import type { Epoch, Interval } from './history.ts'
import type { Received, Wire } from './wire.ts'

/** What a client wants to subscribe to. */
export interface FilterWish {
  readonly name: string
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly retainHandling: 0 | 1 | 2
}

interface Request {
  readonly cmd: 'suback' | 'unsuback'
  readonly names: readonly string[]
  /** Of a SUBSCRIBE. */
  readonly intervals: readonly Interval[]
  readonly seq: number
  /** What had been recorded when it went out. */
  readonly since: number
}

/** SUBSCRIBE and UNSUBSCRIBE of a client, and what it knows of its subscriptions. */
export class Subscriber {
  readonly #parts: ClientParts
  readonly #clientId: string
  readonly #version: 3 | 4 | 5
  readonly #requests = new Map<number, Request>()
  #lastId = 100

  constructor(parts: ClientParts, clientId: string, version: 3 | 4 | 5) {
    this.#parts = parts
    this.#clientId = clientId
    this.#version = version
  }

  /** Requests that are not answered. */
  get size(): number {
    return this.#requests.size
  }

  /** The connection is gone, and with it the answers. */
  restart(): void {
    this.#requests.clear()
  }

  subscribe(wire: Wire, epoch: Epoch, wishes: readonly FilterWish[], subscriptionId: number): void {
    const v5 = this.#version === 5
    const { seq } = this.#parts.time
    const intervals = wishes.map((wish) => {
      const known = epoch.intervals.filter(({ name }) => name === wish.name)
      const interval: Interval = {
        ...wish,
        ...splitShare(wish.name),
        noLocal: v5 && wish.noLocal,
        retainAsPublished: v5 && wish.retainAsPublished,
        retainHandling: v5 ? wish.retainHandling : 0,
        subscriptionId: v5 ? subscriptionId : 0,
        isNew: known.every(({ maybeTo }) => maybeTo < Infinity),
        maybeFrom: seq,
        certainFrom: Infinity,
        certainTo: Infinity,
        maybeTo: Infinity,
      }
      this.#leaves(epoch, wish.name)
      epoch.intervals.push(interval)
      return interval
    })
    const packetId = this.#request({ cmd: 'suback', names: wishes.map(({ name }) => name), intervals })
    wire.owes('suback', packetId)
    const packet: ISubscribePacket = {
      cmd: 'subscribe',
      messageId: packetId,
      subscriptions: intervals.map(({ name, qos, noLocal, retainAsPublished, retainHandling }) => ({
        topic: name,
        qos,
        ...(v5 && { nl: noLocal, rap: retainAsPublished, rh: retainHandling }),
      })),
    }
    if (v5 && subscriptionId > 0) packet.properties = { subscriptionIdentifier: subscriptionId }
    wire.send(packet)
  }

  unsubscribe(wire: Wire, epoch: Epoch, names: readonly string[]): void {
    for (const name of names) this.#leaves(epoch, name)
    const packetId = this.#request({ cmd: 'unsuback', names, intervals: [] })
    wire.owes('unsuback', packetId)
    wire.send({ cmd: 'unsubscribe', messageId: packetId, unsubscriptions: [...names] })
  }

  answered(wire: Wire, epoch: Epoch, packet: Received): void {
    const { blame, time, records } = this.#parts
    const request = this.#requests.get(packet.messageId)
    if (request?.cmd !== packet.cmd)
      return blame('unknown ack', `${packet.cmd} ${packet.messageId} to ${this.#clientId}`)
    this.#requests.delete(packet.messageId)
    const { cmd, names, intervals, since } = request
    if (cmd === 'suback') {
      const granted = packet.granted?.join()
      const asked = intervals.map(({ qos }) => qos).join()
      if (granted !== asked) blame('SUBACK', `${granted} granted for ${names.join()}, ${asked} asked`)
    }
    for (const name of names) {
      for (const interval of epoch.intervals) {
        if (interval.name !== name || interval.maybeFrom >= request.seq) continue
        if (interval.maybeTo === Infinity) interval.maybeTo = time.seq
      }
      if (!epoch.persistent || !epoch.alive || (cmd === 'unsuback' && !hadUntil(epoch, name, request.seq))) continue
      const change = `${cmd === 'suback' ? 'subscribed' : 'unsubscribed'} ${this.#clientId} ${name}`
      const lsn = records.changeLsn(change, since)
      if (lsn === undefined || lsn >= wire.stamp.durable)
        blame('ack before durable', `${cmd} of ${name} left before lsn ${lsn}`)
    }
    if (epoch.alive) for (const interval of intervals) interval.certainFrom = time.seq
  }

  /** From now on nothing is certain about the subscriptions to `name`. */
  #leaves(epoch: Epoch, name: string): void {
    for (const interval of epoch.intervals)
      if (interval.name === name && interval.certainTo === Infinity) interval.certainTo = this.#parts.time.seq
  }

  #request(request: Omit<Request, 'seq' | 'since'>): number {
    do this.#lastId = this.#lastId === 120 ? 101 : this.#lastId + 1
    while (this.#requests.has(this.#lastId))
    const { time, records } = this.#parts
    this.#requests.set(this.#lastId, { ...request, seq: time.seq, since: records.mark })
    return this.#lastId
  }
}

/** Did the client surely have a subscription to `name` until this request? */
function hadUntil(epoch: Epoch, name: string, seq: number): boolean {
  return epoch.intervals.some((known) => known.name === name && known.certainFrom < seq && known.certainTo === seq)
}

function splitShare(name: string): { filter: string; group: string | undefined } {
  const [, group, filter] = /^\$share\/([^/]+)\/(.+)$/.exec(name) ?? []
  return { filter: filter ?? name, group }
}
