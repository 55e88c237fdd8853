// What a cluster of real nodes on this machine can do: npm run bench:cluster [-- --only visible,link,…] [--quick]
//
//   visible    a new filter, with 100,000 there: until all nodes have it, as SUBACK tells; then published elsewhere: is any missed?
//   changes    filters that change, a second
//   link       QoS 1 between two nodes, beside the same on one
//   detect     kill -9 and SIGSTOP: until the others know
//   handover   a session with 10,000 messages moves with its client
import path from 'node:path'
import { spawn } from 'node:child_process'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import { Client } from './cluster.client.mjs'
import { startCluster } from './cluster.nodes.mjs'

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))
const { values } = parseArgs({ options: { only: { type: 'string' }, quick: { type: 'boolean', default: false } } })
const quick = values.quick

const rows = []
const row = (title, figure, unit, target, isMet) => {
  rows.push({ title, figure, unit, target, isMet })
  const mark = isMet === undefined ? '' : isMet ? 'met' : 'SHORT'
  console.log(
    `  ${title.padEnd(64)} ${String(figure).padStart(12)} ${unit.padEnd(8)} ${(target ?? '').padEnd(12)} ${mark}`,
  )
}
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
const ordered = (list) => [...list].sort((one, other) => one - other)
const round = (value) => Math.round(value * 10) / 10

/** Gives `node` so many filters that nobody publishes to. */
async function fill(node, count) {
  const client = await Client.connect(node.port, `filler-${node.name}`)
  const perPacket = 500
  for (let at = 0; at < count; at += perPacket)
    await client.subscribe(
      Array.from({ length: Math.min(perPacket, count - at) }, (_, n) => `filler/${node.name}/${at + n}/+`),
    )
  return client
}

async function visible({ nodes }) {
  const standing = quick ? 3000 : 100_000
  const races = quick ? 2000 : 100_000
  const lanes = 60
  const fillers = await Promise.all(nodes.map((node) => fill(node, Math.floor(standing / nodes.length))))
  const subackMs = []
  let [begun, missed, next] = [0, 0, 0]
  const lane = async (number) => {
    const [here, there] = [nodes[number % nodes.length], nodes[(number + 1) % nodes.length]]
    const subscriber = await Client.connect(here.port, `racer-${number}`)
    const publisher = await Client.connect(there.port, `teller-${number}`)
    let came = () => {}
    subscriber.message = (topic) => came(topic)
    begun ||= performance.now()
    while (next < races) {
      const topic = `race/${next++}`
      const arrival = new Promise((resolve) => (came = (name) => name === topic && resolve(true)))
      const askedMs = performance.now()
      await subscriber.subscribe(topic)
      subackMs.push(performance.now() - askedMs)
      await publisher.publish(topic, 'x')
      let timer
      const late = new Promise((resolve) => (timer = setTimeout(resolve, 2000, false)))
      if (!(await Promise.race([arrival, late]))) missed++
      clearTimeout(timer)
      await subscriber.unsubscribe(topic)
    }
    subscriber.end()
    publisher.end()
  }
  await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)))
  const seconds = (performance.now() - begun) / 1000
  const sorted = ordered(subackMs)
  const p99 = quantile(sorted, 0.99)
  row(`a new filter on all of ${nodes.length} nodes, ${standing} there: p50`, round(quantile(sorted, 0.5)), 'ms')
  row('the same: p99', round(p99), 'ms', '< 50', p99 < 50)
  row(`subscribed here, published there, ${races} times: missed`, missed, '', '0', missed === 0)
  row('filters that came and went meanwhile', Math.round((2 * races) / seconds), '/s')
  for (const filler of fillers) filler.end()
}

async function changes({ nodes }) {
  const seconds = quick ? 2 : 20
  const rate = 10_000
  const clients = await Promise.all(nodes.map((node) => Client.connect(node.port, `changer-${node.name}`)))
  const batch = 50
  let changed = 0
  const begun = performance.now()
  const late = []
  // Open loop: so many a second, in batches, whether they are answered or not.
  for (let number = 0; ; number++) {
    const dueMs = (changed / rate) * 1000
    const nowMs = performance.now() - begun
    if (nowMs > seconds * 1000) break
    if (nowMs < dueMs) {
      await new Promise((resolve) => setTimeout(resolve, dueMs - nowMs))
      continue
    }
    const client = clients[number % clients.length]
    const filters = Array.from({ length: batch }, (_, n) => `change/${number}/${n}`)
    const askedMs = performance.now()
    late.push(
      client.subscribe(filters).then(() => {
        const tookMs = performance.now() - askedMs
        return client.unsubscribe(filters).then(() => tookMs)
      }),
    )
    changed += 2 * batch
  }
  const sorted = ordered(await Promise.all(late))
  const tookS = (performance.now() - begun) / 1000
  row(
    'filter changes sustained, over all nodes',
    Math.round(changed / tookS),
    '/s',
    '>= 10000',
    changed / tookS >= rate * 0.98,
  )
  row('SUBACK meanwhile: p99', round(quantile(sorted, 0.99)), 'ms')
  for (const client of clients) client.end()
}

async function link({ nodes: [a, b] }) {
  const load = ['--mode', 'pairs', '-n', '10', '-q', '1', '--size', '256', '--window', '256', '--json', '--quiet']
  const count = quick ? 20_000 : 1_000_000
  const run = (name, flags) =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [
        main,
        'bench',
        'pub',
        ...load,
        '-C',
        String(count),
        '--warmup',
        String(count / 5),
        '--prefix',
        name,
        ...flags,
      ])
      let [out, err] = ['', '']
      child.stdout.on('data', (text) => (out += text))
      child.stderr.on('data', (text) => (err += text))
      child.on('close', () => (out ? resolve(JSON.parse(out)) : reject(new Error(err))))
    })
  const [local, across] = [[], []]
  for (let round = 0; round < (quick ? 1 : 3); round++)
    for (const persistent of [[], ['--persistent']]) {
      local.push(await run(`l${round}${persistent.length}`, ['-p', String(a.port), ...persistent]))
      across.push(
        await run(`x${round}${persistent.length}`, ['-p', String(a.port), '--sub-port', String(b.port), ...persistent]),
      )
    }
  const median = (list) => ordered(list)[Math.floor(list.length / 2)]
  for (const [what, at] of [
    ['clean', 0],
    ['persistent', 1],
  ]) {
    const of = (list) => median(list.filter((_, number) => number % 2 === at).map(({ inPerSecond }) => inPerSecond))
    const [one, two] = [of(local), of(across)]
    row(`QoS 1, 256 B, ${what} sessions, on one node`, one, 'msg/s')
    row('the same between two nodes', two, 'msg/s', '>= 150k, 60%', two >= 150_000 || two >= 0.6 * one)
  }
  const lost = [...local, ...across].reduce((sum, { lost }) => sum + lost, 0)
  row('lost', lost, '', '0', lost === 0)
}

async function detect(cluster) {
  const { nodes } = cluster
  const [a, b, c] = nodes
  const times = { kill: [], stop: [] }
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    const unseen = () =>
      Promise.all(
        [a, b].map((node) =>
          node.until((others) => others.some(({ node: name, state }) => name === c.name && state === 'dead')),
        ),
      )
    await c.end('SIGKILL')
    times.kill.push(Math.max(...(await unseen())))
    await c.start()
    await cluster.whole()
    c.signal('SIGSTOP')
    times.stop.push(Math.max(...(await unseen())))
    c.signal('SIGCONT')
    await cluster.whole()
  }
  row(
    'kill -9: until both others call it dead, worst',
    Math.round(Math.max(...times.kill)),
    'ms',
    '< 2000',
    Math.max(...times.kill) < 2000,
  )
  row('SIGSTOP: the same', Math.round(Math.max(...times.stop)), 'ms', '< 6000', Math.max(...times.stop) < 6000)
}

async function handover({ nodes: [a, b] }) {
  const messages = quick ? 500 : 10_000
  const tookMs = []
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    const id = `mover-${round}`
    const first = await Client.connect(a.port, id, { clean: false, expirySeconds: 3600 })
    await first.subscribe(`move/${round}`)
    first.end()
    const publisher = await Client.connect(b.port, `filler-${round}`)
    for (let at = 0; at < messages; at += 100)
      await Promise.all(Array.from({ length: 100 }, (_, n) => publisher.publish(`move/${round}`, String(at + n))))
    publisher.end()
    const begun = performance.now()
    const moved = await Client.connect(b.port, id, { clean: false, expirySeconds: 3600 })
    tookMs.push(performance.now() - begun)
    if (!moved.connack.sessionPresent) throw new Error('the session did not come along')
    moved.end()
  }
  const worst = Math.max(...tookMs)
  row(
    `a session with ${messages} messages moves: CONNACK after, worst`,
    Math.round(worst),
    'ms',
    '< 1000',
    worst < 1000,
  )
}

const scenarios = { visible, changes, link, detect, handover }
const names = values.only?.split(',') ?? Object.keys(scenarios)
let failed = false
for (const name of names) {
  const scenario = scenarios[name]
  if (!scenario) throw new Error(`no scenario "${name}"; there are ${Object.keys(scenarios).join(', ')}`)
  console.log(`\n${name}`)
  const cluster = await startCluster(path.resolve(main), ['a', 'b', 'c'])
  try {
    await scenario(cluster)
  } catch (fault) {
    failed = true
    console.log(`  failed: ${fault.message}`)
  } finally {
    await cluster.stop()
  }
}
process.exitCode = failed || rows.some(({ isMet }) => isMet === false) ? 1 : 0
