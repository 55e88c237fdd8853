// Frames over one link, core to core: encoded, written, cut, and read, without a socket in between.
//   npm run -s build && node bench/cluster.link.mjs [seconds]
import { Links } from '../dist/cluster/links.js'
import { FrameType } from '../dist/cluster/wire.js'

const seconds = Number(process.argv[2] ?? 3)
const body = Buffer.alloc(256, 1)
const quiet = { debug() {}, info() {}, warn() {}, error: console.error }

// Turns of both, one behind the other.
const due = []
const clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  every: () => () => {},
  endOfTurn: (run) => due.push(run),
}
const random = { below: () => 0, bytes: (count) => Buffer.alloc(count) }

/** What is written comes out at the other end, in chunks as a TLS socket hands them over. */
const chunkBytes = Number(process.env.CHUNK ?? 16_384)
function pair() {
  const ends = [0, 1].map(() => {
    const end = { remote: 'peer', events: undefined, other: undefined }
    end.write = (bytes, written) =>
      due.push(() => {
        for (let at = 0; at < bytes.length; at += chunkBytes) {
          // A socket gives each chunk memory of its own.
          end.other.events.data(Buffer.from(bytes.subarray(at, at + chunkBytes)))
        }
        written()
      })
    end.pause = end.end = end.destroy = () => {}
    return end
  })
  ends[0].other = ends[1]
  ends[1].other = ends[0]
  return ends
}

let received = 0
let bytes = 0
const part = {
  family: 0x30,
  frame(_from, _type, reader) {
    received++
    reader.varint()
    bytes += reader.left
  },
}
const make = (self, net) =>
  new Links({
    ...{ self, incarnation: 1, address: `${self}:1`, clusterId: 'bench', features: [] },
    ...{ wire: { oldest: 1, newest: 2 }, host: { clock, random, log: quiet }, net, parts: [part] },
  })
const b = make('b', { dial() {} })
const a = make('a', {
  dial(_address, opened) {
    const [near, far] = pair()
    far.events = b.accept(far, 'a')
    near.events = opened(near, 'b')
  },
})
const turn = () => {
  while (due.length > 0) for (const run of due.splice(0)) run()
}
a.join('b:1')
turn()
if (a.version('b') !== 2) throw new Error('no link')

const runFor = (ms) => {
  const [startFrames, startMs] = [received, performance.now()]
  let sent = 0
  while (performance.now() - startMs < ms) {
    for (let n = 0; n < 1000 && !a.congested('b'); n++) {
      const writer = a.begin('b', FrameType.publish)
      writer.varint(sent++)
      writer.bytes(body, 0, body.length)
      a.end()
    }
    turn()
  }
  if (received - startFrames !== sent) throw new Error('not all arrived')
  return (sent / (performance.now() - startMs)) * 1000
}
runFor(500)
const rate = runFor(seconds * 1000)
console.log(
  `link: ${Math.round(rate).toLocaleString('en')} publish frames/s of 256 B, ${Math.round((rate * 263) / 1e6)} MB/s`,
)
