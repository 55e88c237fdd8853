// Strangers who hold sockets: what they cost the broker in memory, and an honest client in time.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { generate } from 'selfsigned'

const mebibyte = 2 ** 20
const connectBytes = Buffer.from('100d00044d5154540402003c000178', 'hex')
const claim = Buffer.concat([Buffer.from('10ffffff7f', 'hex'), Buffer.alloc(1024, 1)])

/** A broker of its own, over TCP and TLS; `rss()` in bytes. */
async function start() {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-abuse-'))
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'bench' }], { keyType: 'ec' })
  writeFileSync(join(folder, 'cert.pem'), cert)
  writeFileSync(join(folder, 'key.pem'), key)
  writeFileSync(
    join(folder, 'godwit.yaml'),
    `listeners: [{ url: 'tcp://127.0.0.1:0' }, { url: 'tls://127.0.0.1:0', tls: { cert: cert.pem, key: key.pem } }]
durability: memory
admin: { listen: off }
logLevel: error
`,
  )
  const child = spawn(process.execPath, ['dist/main.js', 'start', '--config', join(folder, 'godwit.yaml')])
  let screen = ''
  child.stderr.resume()
  child.stdout.setEncoding('utf8')
  while (!screen.includes('demo/hello -m hi')) screen += (await once(child.stdout, 'data'))[0]
  const port = (scheme) => Number(new RegExp(`${scheme}://127.0.0.1:(\\d+)`).exec(screen)[1])
  return {
    tcp: port('tcp'),
    tls: port('tls'),
    rss: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) * 1024,
    async stop() {
      child.kill('SIGKILL')
      await once(child, 'close')
      rmSync(folder, { recursive: true })
    },
  }
}

/** Milliseconds from dialling to CONNACK; Infinity when it is refused. */
async function connectMs(port) {
  const from = performance.now()
  const socket = quiet(connect(port, '127.0.0.1'))
  socket.write(connectBytes)
  const welcome = await new Promise((resolve) => {
    socket.once('data', () => resolve(true)).once('close', () => resolve(false))
  })
  const ms = welcome ? performance.now() - from : Infinity
  socket.destroy()
  return ms
}

async function held(broker, count, open) {
  for (let i = 0; i < 50; i++) await connectMs(broker.tcp)
  const before = broker.rss()
  let most = before
  const sockets = []
  for (let at = 0; at < count; at += 100) {
    const some = Array.from({ length: Math.min(100, count - at) }, () => open(broker))
    sockets.push(...some)
    await Promise.all(some.map((socket) => once(socket, 'connect').catch(() => {})))
    most = Math.max(most, broker.rss())
  }
  // Strangers who have had a second give way to who comes.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const times = []
  for (let i = 0; i < 300; i++) {
    times.push(await connectMs(broker.tcp))
    if (i % 20 === 0) most = Math.max(most, broker.rss())
  }
  for (const socket of sockets) socket.destroy()
  times.sort((a, b) => a - b)
  return { grownBytes: most - before, p99Ms: times[Math.floor(times.length * 0.99)] }
}

function figure(row, name, open) {
  return {
    row,
    name,
    async run({ full }) {
      const count = full ? 5000 : 500
      const broker = await start()
      try {
        const { grownBytes, p99Ms } = await held(broker, count, open)
        const grown = (grownBytes / mebibyte).toFixed(1)
        return {
          figure: grown,
          unit: `MiB for ${count}, honest CONNECT p99 ${p99Ms.toFixed(1)} ms`,
          limit: '64 MiB, 200 ms',
          ok: grownBytes < 64 * mebibyte && p99Ms < 200,
        }
      } finally {
        await broker.stop()
      }
    },
  }
}

const quiet = (socket) => socket.on('error', () => {})

export default [
  figure('half-open', 'half-open sockets', ({ tcp }) => quiet(connect(tcp, '127.0.0.1'))),
  figure('half-open TLS', 'half-open sockets at the TLS port', ({ tls }) => quiet(connect(tls, '127.0.0.1'))),
  figure('shaken TLS', 'TLS handshakes, and not a byte behind them', ({ tls }) =>
    quiet(connectTls({ port: tls, host: '127.0.0.1', rejectUnauthorized: false })),
  ),
  figure('headers', 'headers that claim 256 MB, and 1 KB of it', ({ tcp }) => {
    const socket = quiet(connect(tcp, '127.0.0.1'))
    socket.write(claim)
    return socket
  }),
]
