// Publish frames of 256 B over one link.
//   npm run -s build && node bench/cluster.link.mjs [seconds]          core to core, without a socket in between
//   npm run -s build && node bench/cluster.link.mjs [seconds] tls      between two processes, over TLS
import { fork } from 'node:child_process'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Links } from '../dist/cluster/links.js'
import { FrameType } from '../dist/cluster/wire.js'

const [seconds = '3', mode = 'core'] = process.argv.slice(2)
const body = Buffer.alloc(256, 1)
const quiet = { debug() {}, info() {}, warn: console.error, error: console.error }
const random = { below: () => 0, bytes: (count) => Buffer.alloc(count) }

let received = 0
const part = {
  family: 0x30,
  frame(_from, _type, reader) {
    received++
    reader.varint()
  },
}
const linksOf = (self, clock, net) =>
  new Links({
    ...{ self, incarnation: 1, address: `${self}:1`, clusterId: 'bench', features: [] },
    ...{ wire: { oldest: 1, newest: 2 }, host: { clock, random, log: quiet }, net, parts: [part] },
  })

/** As much as a turn may take, or the credit allows. */
function sendSome(links, sent) {
  for (let n = 0; n < 1000 && !links.congested('b'); n++) {
    const writer = links.begin('b', FrameType.publish)
    writer.varint(sent++)
    writer.bytes(body, 0, body.length)
    links.end()
  }
  return sent
}

function tell(what, rate) {
  const megabytes = Math.round((rate * (body.length + 8)) / 1e6)
  console.log(`${what}: ${Math.round(rate).toLocaleString('en')} publish frames/s of 256 B, ${megabytes} MB/s`)
}

function core() {
  // Turns of both, one behind the other.
  const due = []
  const clock = {
    now: () => performance.now(),
    wall: () => 0,
    every: () => () => {},
    endOfTurn: (run) => due.push(run),
  }
  const turn = () => {
    while (due.length > 0) for (const run of due.splice(0)) run()
  }
  /** What is written comes out at the other end, in chunks as a TLS socket hands them over: each in memory of its own. */
  const pair = () => {
    const ends = [{ remote: 'b' }, { remote: 'a' }]
    ends.forEach((end, at) => {
      end.write = (bytes, written) =>
        due.push(() => {
          for (let from = 0; from < bytes.length; from += 16_384)
            ends[1 - at].events.data(Buffer.from(bytes.subarray(from, from + 16_384)))
          written()
        })
      end.pause = end.end = end.destroy = () => {}
    })
    return ends
  }
  const b = linksOf('b', clock, { dial() {} })
  const a = linksOf('a', clock, {
    dial(_address, opened) {
      const [near, far] = pair()
      far.events = b.accept(far, 'a')
      near.events = opened(near, 'b')
    },
  })
  a.join('b:1')
  turn()
  const runFor = (ms) => {
    const [before, startMs] = [received, performance.now()]
    let sent = 0
    while (performance.now() - startMs < ms) {
      sent = sendSome(a, sent)
      turn()
    }
    if (received - before !== sent) throw new Error('not all has arrived')
    return (sent / (performance.now() - startMs)) * 1000
  }
  runFor(500)
  tell('core to core', runFor(seconds * 1000))
}

const nodeClock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  every(ms, tick) {
    const timer = setInterval(tick, ms)
    return () => clearInterval(timer)
  },
  endOfTurn: (run) => void setImmediate(run),
}

async function netOf(identity) {
  const { TlsNet } = await import('../dist/platform/tls-net.js')
  return new TlsNet({ identity, directory: undefined, log: quiet })
}

/** The other process: takes what comes, and says how much that was. */
function receiver() {
  process.once('message', async (identity) => {
    const net = await netOf(identity)
    const links = linksOf('b', nodeClock, net)
    const port = await net.listen({ host: '127.0.0.1', port: 0 }, (stream, node) => links.accept(stream, node))
    process.on('message', () => process.send({ received, cpu: process.cpuUsage() }))
    process.send({ port })
  })
}

async function tls() {
  const { ClusterDirectory, initCluster } = await import('../dist/platform/cluster-directory.js')
  const { newKey } = await import('../dist/platform/certificates.js')
  const folder = mkdtempSync(join(tmpdir(), 'godwit-bench-'))
  const path = join(folder, 'cluster')
  const clusterId = await initCluster(path)
  const directory = new ClusterDirectory(path)
  const identityOf = async (node) => {
    const key = newKey()
    const certificate = await directory.issue(node, createPublicKey(createPrivateKey(key)))
    return { clusterId, node, key, certificate, authority: directory.certificate }
  }
  const child = fork(fileURLToPath(import.meta.url), [seconds, 'receiver'])
  const answer = () => new Promise((resolve) => child.once('message', resolve))
  const asked = (message) => {
    const answered = answer()
    child.send(message)
    return answered
  }
  const { port } = await asked(await identityOf('b'))
  const net = await netOf(await identityOf('a'))
  const a = linksOf('a', nodeClock, net)
  a.join(`127.0.0.1:${port}`)
  while (a.version('b') === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  let sent = 0
  let running = true
  const send = () => {
    sent = sendSome(a, sent)
    if (running) setImmediate(send)
  }
  send()
  const state = async () => ({ ...(await asked({})), ms: performance.now(), own: process.cpuUsage() })
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const from = await state()
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const to = await state()
  running = false
  const ms = to.ms - from.ms
  tell('two processes, TLS', ((to.received - from.received) / ms) * 1000)
  const busy = (before, after) => Math.round((after.user + after.system - before.user - before.system) / ms / 10)
  console.log(`processor: sender ${busy(from.own, to.own)}%, receiver ${busy(from.cpu, to.cpu)}%`)
  child.kill()
  a.stop()
  await net.close()
  rmSync(folder, { recursive: true })
}

if (mode === 'receiver') receiver()
else if (mode === 'tls') await tls()
else core()
