// The bare lane: a yardstick, and not a broker. It copies each PUBLISH, one by one, from the socket it came on to the
// sockets that asked for the topic, and answers what a client waits for. It keeps no sessions and checks nothing; a filter
// that ends with '#' gets everything, any other is compared as it stands.
// It is what moving one message at a time costs on Node, and no upper bound: a broker that sends on several QoS 0 frames
// in one piece is faster, the more of them come together.
//
//   node bench/contenders/lane.mjs PORT
import net from 'node:net'

const pageBytes = 1 << 16
const sparePages = []
const exact = new Map() // filter → Set of lanes
const everything = new Set()
const routes = new Map() // topic → lanes that get it; emptied whenever a lane comes or goes

let unsent = []

function sendAll() {
  const lanes = unsent
  unsent = []
  for (const lane of lanes) lane.send()
}

class Lane {
  #socket
  #rest
  #page
  #filled = 0
  #queued = false
  #packetId = 0

  constructor(socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (bytes) => this.#read(bytes))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#leave())
  }

  /** One write for all that came together in this turn of the event loop. */
  send() {
    this.#queued = false
    const page = this.#page
    if (page === undefined) return
    this.#page = undefined
    const reusable = page.length === pageBytes
    this.#socket.write(page.subarray(0, this.#filled), () => {
      if (reusable && sparePages.length < 256) sparePages.push(page)
    })
  }

  /** Copies bytes[from … to) to the end of the page, and tells where there it begins. */
  #put(bytes, from, to) {
    const size = to - from
    if (this.#page !== undefined && this.#filled + size > this.#page.length) this.send()
    if (this.#page === undefined) {
      this.#page =
        size <= pageBytes ? (sparePages.pop() ?? Buffer.allocUnsafeSlow(pageBytes)) : Buffer.allocUnsafe(size)
      this.#filled = 0
    }
    if (!this.#queued) {
      this.#queued = true
      if (unsent.push(this) === 1) setImmediate(sendAll)
    }
    const page = this.#page
    const begin = this.#filled
    this.#filled = begin + size
    // A call into native code costs more than a short copy.
    if (size > 96) bytes.copy(page, begin, from, to)
    else for (let i = from, at = begin; i < to; i++, at++) page[at] = bytes[i]
    return begin
  }

  #read(bytes) {
    const all = this.#rest === undefined ? bytes : Buffer.concat([this.#rest, bytes])
    let at = 0
    while (at + 2 <= all.length) {
      let length = 0
      let body = at + 1
      for (let shift = 0, more = true; more; shift += 7) {
        if (body === all.length) length = Infinity
        const byte = all[body++]
        length += (byte & 127) << shift
        more = byte > 127
      }
      if (!(body + length <= all.length)) break
      this.#take(all, at, body, body + length)
      at = body + length
    }
    this.#rest = at < all.length ? all.subarray(at) : undefined
  }

  #take(bytes, start, body, end) {
    switch (bytes[start] >> 4) {
      case 3:
        return this.#forward(bytes, start, body, end)
      case 1: // version 5 has a length of properties behind the return code
        return this.#answer(bytes[body + 6] === 5 ? [0x20, 3, 0, 0, 0] : [0x20, 2, 0, 0])
      case 8:
        return this.#subscribe(bytes, body, end)
      case 12:
        return this.#answer([0xd0, 0])
      case 14:
        return this.#socket.end()
    }
  }

  #forward(bytes, start, body, end) {
    const idAt = body + 2 + ((bytes[body] << 8) | bytes[body + 1])
    const qos = (bytes[start] >> 1) & 3
    const lanes = routeOf(bytes.latin1Slice(body + 2, idAt))
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[i]
      const begin = lane.#put(bytes, start, end)
      if (qos === 0) continue
      const id = (lane.#packetId = (lane.#packetId % 65_535) + 1)
      lane.#page[begin + idAt - start] = id >> 8
      lane.#page[begin + idAt - start + 1] = id & 255
    }
    if (qos === 1) this.#answer([0x40, 2, bytes[idAt], bytes[idAt + 1]])
  }

  /** One filter in each SUBSCRIBE, without properties: all that a load generator sends. */
  #subscribe(bytes, body, end) {
    const properties = bytes[body + 2] === 0 && bytes[body + 3] === 0 ? 1 : 0
    const at = body + 2 + properties
    const filter = bytes.latin1Slice(at + 2, at + 2 + ((bytes[at] << 8) | bytes[at + 1]))
    if (filter.endsWith('#')) everything.add(this)
    else exact.set(filter, (exact.get(filter) ?? new Set()).add(this))
    routes.clear()
    const head = properties ? [0x90, 4, bytes[body], bytes[body + 1], 0] : [0x90, 3, bytes[body], bytes[body + 1]]
    this.#answer([...head, bytes[end - 1]])
  }

  #answer(bytes) {
    this.#put(bytes, 0, bytes.length)
  }

  #leave() {
    everything.delete(this)
    for (const lanes of exact.values()) lanes.delete(this)
    routes.clear()
  }
}

function routeOf(topic) {
  let lanes = routes.get(topic)
  if (lanes === undefined) routes.set(topic, (lanes = [...(exact.get(topic) ?? []), ...everything]))
  return lanes
}

net.createServer((socket) => new Lane(socket)).listen(Number(process.argv[2]), '127.0.0.1')
