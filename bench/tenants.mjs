// What a client that belongs to a tenant costs beside one that belongs to none: both log in by a token, on the same broker, in turn.
//   npm run -s build && node bench/tenants.mjs [--rounds N] [--connections N]
// Run it alone. Processor time is the broker's own, and of the rounds the least counts: what is found besides is the neighbours'.
import { createHmac } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { freePorts, memoryOf, processorNs, removeFolder, runToEnd, startServer, temporaryFolder } from './processes.mjs'

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '5000' },
  },
})
const rounds = Number(values.rounds)
const connections = Number(values.connections)
const secret = 'a secret of the bench, which is of no use elsewhere'
const sides = [
  { name: 'none', token: tokenOf({}) },
  { name: 'of a tenant', token: tokenOf({ tenant: 'north' }) },
]
const loads = [
  { name: 'QoS 0, fan-in 100 -> 1', qos: 0, messages: 4_000_000 },
  { name: 'QoS 1, fan-in 100 -> 1', qos: 1, messages: 800_000 },
]

for (const load of loads) await speed(load)
await memory()

async function speed({ name, qos, messages }) {
  const half = String(messages / 2)
  const load = ['--mode', 'fanin', '-n', '100', '-S', '1', '-q', String(qos), '-C', half, '--warmup', half]
  const best = sides.map(() => ({ ns: Infinity, perSecond: 0 }))
  await withBroker(async ({ pid, port }) => {
    // The first round warms it.
    for (let round = 0; round <= rounds; round++)
      for (const [at, { token }] of round % 2 === 0 ? [...sides.entries()] : [...sides.entries()].reverse()) {
        const begun = processorNs(pid)
        const { outPerSecond } = await bench(port, ['pub', ...load], token)
        const ns = (processorNs(pid) - begun) / messages
        if (round === 0) continue
        best[at].ns = Math.min(best[at].ns, ns)
        best[at].perSecond = Math.max(best[at].perSecond, outPerSecond)
      }
  })
  report(
    name,
    best.map(({ ns, perSecond }) => `${ns.toFixed(0)} ns of processor, ${perSecond}/s`),
    best[1].ns / best[0].ns,
  )
}

/** What the process grows by, for each of those who are connected and idle. */
async function memory() {
  const bytesEach = []
  for (const { token } of sides)
    await withBroker(async ({ pid, port }) => {
      // What the first ones need is there before it is measured.
      await bench(port, ['conn', '-n', '200', '--hold', '0'], token)
      const before = memoryOf(pid).residentBytes
      let held = 0
      const timer = setInterval(() => (held = Math.max(held, memoryOf(pid).residentBytes)), 100)
      await bench(port, ['conn', '-n', String(connections), '--hold', '2'], token)
      clearInterval(timer)
      bytesEach.push(Math.round((held - before) / connections))
    })
  report(
    `${connections} idle connections`,
    bytesEach.map((bytes) => `${bytes} bytes each`),
    bytesEach[1] / bytesEach[0],
  )
}

function report(name, figures, ratio) {
  console.log(
    `${name}: ${sides.map((side, at) => `${side.name}: ${figures[at]}`).join('; ')}; ${ratio.toFixed(3)} times`,
  )
}

async function withBroker(run) {
  const folder = temporaryFolder()
  const [port] = await freePorts(1)
  writeFileSync(path.join(folder, 'secret'), `${secret}\n`, { mode: 0o600 })
  writeFileSync(
    path.join(folder, 'godwit.yaml'),
    `listeners: [{ url: 'tcp://127.0.0.1:${port}' }]
auth: { jwt: { secretFile: secret, issuer: bench, audience: bench, claims: { user: sub, tenant: tenant } } }
tenants: { north: { connections: 1000000, sessions: 1000000, subscriptions: 1000000 } }
limits: { sysSeconds: 0 }
`,
  )
  const command = [
    process.execPath,
    main,
    'start',
    '--config',
    'godwit.yaml',
    '--durability',
    'memory',
    '--admin',
    'off',
  ]
  const server = await startServer(0, command, port, folder)
  try {
    await run({ pid: server.pid, port })
  } finally {
    await server.stop()
    removeFolder(folder)
  }
}

async function bench(port, args, token) {
  const command = [process.execPath, main, 'bench', ...args, '-p', String(port), '-u', 'bench', '-P', token]
  const { code, stdout, stderr } = await runToEnd(1, [...command, '--json', '--quiet'], 60)
  if (code !== 0) throw new Error(stderr || stdout)
  return JSON.parse(stdout)
}

/** A token of HS256. */
function tokenOf(claims) {
  const text = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const exp = Math.floor(Date.now() / 1000) + 3600
  const signed = `${text({ alg: 'HS256' })}.${text({ iss: 'bench', aud: 'bench', sub: 'bench', exp, ...claims })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}
