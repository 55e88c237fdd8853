// What 100 rules add to the way of a message, in nanoseconds: two brokers without sockets that are given the same bytes in turn,
// hundreds of times. Whole brokers scatter by more than what is looked for; pairs of slices do not. Each has a thread, and so code
// of its own: what one process compiles for both would make the broker without rules as dear as the other.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import mqttPacket from 'mqtt-packet'
import { compileRules } from '../dist/access/rules.js'
import { Broker } from '../dist/broker/broker.js'
import { defaultLimits } from '../dist/broker/limits.js'
import { alone } from '../dist/cluster/alone.js'
import { MemoryStore } from '../dist/store/memory.js'

const messagesInChunk = 500
const messagesInSlice = 10_000

const warmings = 20

/** @returns nanoseconds a message that `rules` cost in each of `pairs` pairs of slices, of two brokers that were just started */
export async function costs(load, rules, pairs) {
  const sides = [new Thread({ ...load, rules: [] }), new Thread({ ...load, rules })]
  for (let warm = 0; warm < warmings; warm++) for (const side of sides) await side.slice()
  const found = []
  for (let pair = 0; pair < pairs; pair++) {
    const ns = []
    for (const at of pair % 2 === 0 ? [0, 1] : [1, 0]) ns[at] = await sides[at].slice()
    found.push(ns[1] - ns[0])
  }
  for (const side of sides) await side.end()
  return found
}

/** A side in a thread of its own. */
class Thread {
  #worker

  constructor(workerData) {
    this.#worker = new Worker(new URL(import.meta.url), { workerData })
  }

  slice() {
    return new Promise((resolve, reject) => {
      this.#worker.removeAllListeners()
      this.#worker.once('message', resolve).once('error', reject)
      this.#worker.postMessage(undefined)
    })
  }

  end() {
    return this.#worker.terminate()
  }
}

/** A broker, and as many publishers as subscribers, each with a topic of its own. */
class Side {
  #turns = []
  #publishers
  #subscribers
  #chunks
  #messages
  #rounds

  constructor(qos, couples, policies) {
    const log = { debug() {}, info() {}, warn: console.error, error: console.error }
    const broker = new Broker({
      host: {
        clock: {
          now: () => 0,
          wall: () => 0,
          every: () => () => {},
          endOfTurn: (run) => void this.#turns.push(run),
        },
        random: { bytes: (count) => new Uint8Array(count), below: () => 1 },
        log,
      },
      limits: { ...defaultLimits, sysSeconds: 0 },
      store: new MemoryStore(),
      cluster: alone,
      hooks: {},
      rulebook: { policies, named: (user) => ({ user }) },
      observer: {},
      version: 'bench',
      heapBytes: () => 0,
    })
    const topicOf = (at) => `bench/p${at}/x`
    const frame = (at) =>
      mqttPacket.generate({ cmd: 'publish', topic: topicOf(at), payload: 'x'.repeat(64), qos, messageId: 1 })
    this.#chunks = Array.from({ length: couples }, (_, at) =>
      Buffer.concat(Array.from({ length: messagesInChunk }, () => frame(at))),
    )
    this.#rounds = Math.ceil(messagesInSlice / messagesInChunk / couples)
    this.#messages = couples * messagesInChunk * this.#rounds
    this.#publishers = this.#chunks.map((_, at) => this.#client(broker, `p${at}`))
    this.#subscribers = this.#chunks.map((_, at) => {
      const subscriber = this.#client(broker, `s${at}`, qos === 0 ? undefined : frame(at).length)
      const subscriptions = [{ topic: `bench/p${at}/+`, qos }]
      subscriber.client.data(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions }))
      this.#turn()
      return subscriber
    })
  }

  /** @returns nanoseconds a message */
  slice() {
    let taken = 0
    const begun = process.hrtime.bigint()
    for (let round = 0; round < this.#rounds; round++) {
      for (const [at, { client }] of this.#publishers.entries()) client.data(this.#chunks[at])
      this.#turn()
      for (const { client, answers } of this.#subscribers) {
        taken += answers.length
        for (const answer of answers.splice(0)) client.data(answer)
      }
      this.#turn()
    }
    const ns = Number(process.hrtime.bigint() - begun) / this.#messages
    if (taken === 0 && this.#subscribers[0].answering) throw new Error('nothing came')
    return ns
  }

  /** @param bytes of a frame that it gets: it acknowledges each */
  #client(broker, clientId, bytes) {
    const answers = []
    const stream = {
      remote: '127.0.0.1:1',
      write: (written, done) => {
        if (bytes !== undefined && written[0] === 0x32) answers.push(acknowledgements(written, bytes))
        this.#turns.push(done)
      },
      pause() {},
      end() {},
      destroy() {},
    }
    const client = broker.accept(stream)
    const connect = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId, keepalive: 0 }
    client.data(mqttPacket.generate(connect))
    this.#turn()
    return { client, answers, answering: bytes !== undefined }
  }

  #turn() {
    while (this.#turns.length > 0) for (const run of this.#turns.splice(0)) run()
  }
}

/** PUBACKs for what was written: frames of one size, in which the packet id stands before 64 bytes. */
function acknowledgements(written, bytes) {
  const answer = Buffer.alloc((written.length / bytes) * 4)
  for (let at = 0, to = 0; at < written.length; at += bytes, to += 4) {
    answer[to] = 0x40
    answer[to + 1] = 2
    answer[to + 2] = written[at + bytes - 66]
    answer[to + 3] = written[at + bytes - 65]
  }
  return answer
}

if (!isMainThread) {
  const { qos, couples, rules } = workerData
  const side = new Side(qos, couples, rules.length === 0 ? [] : [compileRules(rules)])
  parentPort.on('message', () => parentPort.postMessage(side.slice()))
}
