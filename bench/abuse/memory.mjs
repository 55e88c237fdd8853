// A memory limit of 256 MB under flood: publishers of QoS 0 and 1 without end, consumers that never read, retained topics
// without end, big messages, packets that are never finished. It lives, and two honest clients are served all the time.
//
// ABUSE_CGROUP names a memory control group of yours (version 1 or 2), below which one is made for the broker; without it
// the kernel's own mark of the most that was resident is held against the limit.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import mqttPacket from 'mqtt-packet'
import { freePorts, startServer, temporaryFolder } from '../processes.mjs'

const mebibyte = 2 ** 20
const limitBytes = 256 * mebibyte
const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

/** A client without manners: it sends what `more` gives for as long as its socket takes it, and comes back when it is sent away. */
class Rude {
  #socket
  #over = false
  constructor(port, id, { more, subscribe, reads = true }) {
    const open = () => {
      if (this.#over) return
      const socket = (this.#socket = net.connect(port, '127.0.0.1'))
      socket.on('error', () => {})
      socket.on('close', () => setTimeout(open, 200).unref())
      socket.on('connect', () => {
        socket.write(connect(id))
        if (subscribe !== undefined)
          socket.write(packet({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: subscribe, qos: 1 }] }))
        if (!reads) return socket.pause()
        socket.resume()
        if (more === undefined) return
        const send = () => {
          // A turn's worth, so that the others have theirs.
          for (let bytes = 0; bytes < 256 * 1024;) {
            const next = more()
            if (next === undefined || socket.destroyed) return
            bytes += next.length
            if (!socket.write(next)) return void socket.once('drain', () => setImmediate(send))
          }
          setImmediate(send)
        }
        send()
      })
    }
    open()
  }
  end() {
    this.#over = true
    this.#socket.destroy()
  }
}

/** One who publishes a message at a time, to itself, and notes how long each took. */
class Honest {
  served = 0
  longestMs = 0
  cut = 0
  #socket
  #sentMs = 0
  #timer
  constructor(port, id) {
    const socket = (this.#socket = net.connect(port, '127.0.0.1'))
    const parser = mqttPacket.parser({ protocolVersion: 4 })
    parser.on('packet', ({ cmd, messageId }) => {
      if (cmd === 'connack')
        socket.write(packet({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: `honest/${id}`, qos: 1 }] }))
      if (cmd === 'suback') this.#publish()
      if (cmd !== 'publish') return
      socket.write(packet({ cmd: 'puback', messageId }))
      this.served++
      this.longestMs = Math.max(this.longestMs, this.waitedMs)
      this.#timer = setTimeout(() => this.#publish(), 100)
    })
    socket.on('data', (chunk) => parser.parse(chunk))
    socket.on('error', () => {})
    socket.on('close', () => this.cut++)
    socket.on('connect', () => socket.write(connect(id)))
    this.id = id
  }
  get waitedMs() {
    return performance.now() - this.#sentMs
  }
  #publish() {
    this.#sentMs = performance.now()
    this.#socket.write(publish(`honest/${this.id}`, Buffer.from('x'), { qos: 1, messageId: 7 }))
  }
  end() {
    clearTimeout(this.#timer)
    this.#socket.destroy()
  }
}

const packet = (fields) => mqttPacket.generate(fields, { protocolVersion: 4 })
const connect = (clientId) =>
  packet({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId, keepalive: 0 })
const publish = (topic, payload, more = {}) =>
  packet({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false, ...more })

function flood(port) {
  const kilobyte = Buffer.alloc(1024, 'x')
  let topics = 0
  const rude = []
  const add = (count, name, habits) => {
    for (let at = 0; at < count; at++) rude.push(new Rude(port, `${name}${at}`, habits(at)))
  }
  add(20, 'deaf', () => ({ subscribe: 'flood/#', reads: false }))
  add(4, 'reader', () => ({ subscribe: 'flood/#' }))
  add(5, 'qos0', (at) => {
    const frame = publish(`flood/0/${at}`, kilobyte)
    return { more: () => frame }
  })
  add(5, 'qos1', (at) => {
    let id = 0
    return { more: () => publish(`flood/1/${at}`, kilobyte, { qos: 1, messageId: (id++ % 65_535) + 1 }) }
  })
  add(3, 'retainer', () => ({
    more: () => publish(`kept/${topics++}`, Buffer.alloc(10_240, 'x'), { retain: true }),
  }))
  const big = publish('flood/big', Buffer.alloc(1_900_000, 'x'))
  add(20, 'big', () => ({ more: () => big }))
  add(150, 'unfinished', () => {
    let sent = false
    return { more: () => (sent ? undefined : ((sent = true), big.subarray(0, -1))) }
  })
  return rude
}

/** Where the broker runs below its limit, if somebody has given us such a place. */
function ownGroup() {
  const parent = process.env['ABUSE_CGROUP']
  if (parent === undefined) return undefined
  const group = path.join(parent, `godwit-${process.pid}`)
  mkdirSync(group)
  const file = ['memory.max', 'memory.limit_in_bytes'].find((name) => existsSync(path.join(group, name)))
  if (file === undefined) throw new Error(`${parent} is no memory control group`)
  writeFileSync(path.join(group, file), String(limitBytes))
  return {
    enters: ['sh', '-c', `echo $$ > '${path.join(group, 'cgroup.procs')}'; exec "$@"`, 'sh'],
    remove: () => rmdirSync(group),
  }
}

const tenths = 10

/** The mean of a figure over each stretch of the way. */
class Course {
  #stretches
  constructor(count) {
    this.#stretches = Array.from({ length: count }, () => ({ sum: 0, count: 0 }))
  }
  /** @param way from 0 to 1 */
  add(way, value) {
    const stretch = this.#stretches[Math.min(this.#stretches.length - 1, Math.floor(way * this.#stretches.length))]
    stretch.sum += value
    stretch.count++
  }
  get #means() {
    return this.#stretches.map(({ sum, count }) => sum / count)
  }
  get last() {
    return this.#means.at(-1)
  }
  /** Of the first so many stretches. */
  highest(first) {
    return Math.max(...this.#means.slice(0, first))
  }
  toString() {
    return this.#means.map((mean) => Math.round(mean)).join(' ')
  }
}

const statusOf = (pid) => readFileSync(`/proc/${pid}/status`, 'latin1')
const kilobytes = (status, name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? NaN)

export default {
  name: '256 MB under flood: most that was resident',
  row: 'memory',
  async run({ full }) {
    const seconds = full ? 600 : 30
    const [port] = await freePorts(1)
    const folder = temporaryFolder()
    const config = path.join(folder, 'godwit.yaml')
    writeFileSync(
      config,
      `durability: memory\nadmin: { listen: off }\nmemory: { limitBytes: ${Math.floor(0.85 * limitBytes)} }\n`,
    )
    const group = ownGroup()
    // What Node would give its heap, and the broker itself, in a control group of this size.
    const node = [process.execPath, '--max-old-space-size=128', main]
    const command = [
      ...(group?.enters ?? []),
      ...node,
      'start',
      '--config',
      config,
      '--listen',
      `tcp://127.0.0.1:${port}`,
    ]
    const broker = await startServer(0, command, port, folder)
    const honest = [new Honest(port, 'ann'), new Honest(port, 'bob')]
    await new Promise((resolve) => setTimeout(resolve, 500))
    const rude = flood(port)
    let most = 0
    const resident = new Course(tenths)
    const [startMs, endMs] = [performance.now(), performance.now() + seconds * 1000]
    while (broker.isAlive() && performance.now() < endMs) {
      const status = statusOf(broker.pid)
      most = Math.max(most, kilobytes(status, 'VmHWM') - kilobytes(status, 'RssFile'))
      resident.add((performance.now() - startMs) / (endMs - startMs), kilobytes(status, 'RssAnon') / 1024)
      if (process.env['ABUSE_TELL'])
        console.error(
          kilobytes(status, 'RssAnon') >> 10,
          honest.map(({ served, longestMs }) => [served, longestMs | 0]).join(' '),
        )
      await new Promise((resolve) => setTimeout(resolve, 250))
    }
    const alive = broker.isAlive()
    const slowest = Math.max(...honest.map(({ longestMs }) => longestMs))
    const kept = honest.every(({ cut, waitedMs }) => cut === 0 && waitedMs < 10_000) && slowest < 10_000
    for (const client of [...rude, ...honest]) client.end()
    await broker.stop('SIGKILL')
    group?.remove()
    const served = honest.map((client) => client.served)
    const by = group ? 'in a control group' : 'no control group: by VmHWM without pages of files'
    const told = `${served.join(' and ')} honest messages, slowest ${Math.round(slowest)} ms; by tenths of the time ${resident}`
    return {
      figure: alive ? Math.round(most / 1024) : 'killed',
      unit: `MB in ${seconds} s (${by}); ${told}`,
      limit: '256 MB, 10 s',
      // It may breathe, and must not creep.
      ok: alive && kept && most * 1024 < limitBytes && (!full || resident.last < 1.05 * resident.highest(5)),
    }
  },
}
