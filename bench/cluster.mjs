// What a cluster of real nodes on this machine can do: npm run bench:cluster [-- --only visible,link,…] [--quick]
//
//   visible    a new filter, with 100,000 there: until all nodes have it, as SUBACK tells; then published elsewhere: is any missed?
//   changes    filters that change, a second
//   link       QoS 1 between two nodes, beside the same on one
//   follow     the same, at one node: the others follow
//   join       a node joins a cluster with 1,000,000 filters
//   memory     what a node needs for 100,000 filters of another
//   detect     kill -9 and SIGSTOP: until the others know
//   handover   a session with 10,000 messages moves with its client
import path from 'node:path'
import { spawn } from 'node:child_process'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import { Client } from './cluster.client.mjs'
import { gossipScenarios } from './cluster.gossip.mjs'
import { startCluster } from './cluster.nodes.mjs'
import { memoryOf } from './processes.mjs'

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
  const fillers = await Promise.all(nodes.map((node) => fill(node, Math.floor(standing / nodes.length))))
  // Now and then, as clients come and go; and as fast as all of them can, so that most of it is waiting in line.
  for (const [lanes, races] of [
    [6, quick ? 1000 : 5000],
    [60, quick ? 3000 : 100_000],
  ]) {
    const { subackMs, missed, seconds } = await race(nodes, lanes, races)
    const p99 = quantile(subackMs, 0.99)
    row(
      `${lanes} clients subscribe, ${standing} filters there: on all nodes, p50`,
      round(quantile(subackMs, 0.5)),
      'ms',
    )
    row('the same: p99', round(p99), 'ms', '< 50', p99 < 50)
    row(`subscribed here, published there, ${races} times: missed`, missed, '', '0', missed === 0)
    row('filters that came and went meanwhile', Math.round((2 * races) / seconds), '/s')
  }
  for (const filler of fillers) filler.end()
}

/** In each lane somebody subscribes on one node, again and again, and as that is told publishes on the next. */
async function race(nodes, lanes, races) {
  const subackMs = []
  let [begun, missed, next] = [0, 0, 0]
  const lane = async (number) => {
    const [here, there] = [nodes[number % nodes.length], nodes[(number + 1) % nodes.length]]
    const subscriber = await Client.connect(here.port, `racer-${lanes}-${number}`)
    const publisher = await Client.connect(there.port, `teller-${lanes}-${number}`)
    let came = () => {}
    subscriber.message = (topic) => came(topic)
    begun ||= performance.now()
    while (next < races) {
      const topic = `race/${lanes}/${next++}`
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
  return { subackMs: ordered(subackMs), missed, seconds: (performance.now() - begun) / 1000 }
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
  // More than there are packet ids, many times over.
  const count = quick ? 100_000 : 600_000
  const args = [main, 'bench', 'pub', ...load, '-C', String(count), '--warmup', String(count / 5)]
  const run = (name, flags) =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [...args, '--prefix', name, ...flags])
      let [out, err] = ['', '']
      child.stdout.on('data', (text) => (out += text))
      child.stderr.on('data', (text) => (err += text))
      child.on('close', () => (out ? resolve(JSON.parse(out)) : reject(new Error(err))))
    })
  const runs = []
  for (let round = 0; round < (quick ? 1 : 3); round++)
    for (const persistent of [[], ['--persistent']])
      for (const across of [[], ['--sub-port', String(b.port)]]) {
        const kind = `${persistent.length === 0 ? 'clean' : 'persistent'} ${across.length === 0 ? 'one' : 'two'}`
        const result = await run(`r${runs.length}`, ['-p', String(a.port), ...across, ...persistent])
        // The rate of a run that came to a stop says nothing.
        if (!result.ok) console.log(`  ${kind}: ${result.ending}, ${result.lost} of ${result.expected} have not come`)
        runs.push({ kind, ...result })
      }
  for (const sessions of ['clean', 'persistent']) {
    const median = (nodes) => {
      const rates = runs.filter(({ kind, ok }) => kind === `${sessions} ${nodes}` && ok).map((run) => run.inPerSecond)
      return rates.length === 0 ? 0 : quantile(ordered(rates), 0.5)
    }
    const [one, two] = [median('one'), median('two')]
    row(`QoS 1, 256 B, ${sessions} sessions, on one node`, one, 'msg/s')
    row(
      `between two nodes (${Math.round((100 * two) / one)}% of that)`,
      two,
      'msg/s',
      '>= 150k, 60%',
      two >= Math.min(150_000, 0.6 * one),
    )
  }
  const lost = runs.reduce((sum, { lost }) => sum + lost, 0)
  row('lost, or stopped on the way', lost, '', '0', lost === 0 && runs.every(({ ok }) => ok))
}

async function memory({ nodes: [a, b] }) {
  const count = quick ? 10_000 : 100_000
  const settled = () => new Promise((resolve) => setTimeout(resolve, quick ? 1000 : 5000))
  await settled()
  const [hereBefore, thereBefore] = [a, b].map(({ pid }) => memoryOf(pid).anonymousBytes)
  const filler = await fill(a, count)
  await settled()
  const [here, there] = [a, b].map(({ pid }) => memoryOf(pid).anonymousBytes)
  const MiB = (bytes) => round(bytes / 2 ** 20)
  row('a node without filters', MiB(thereBefore), 'MiB')
  row(`and with ${count} of another node: more by`, MiB(there - thereBefore), 'MiB')
  row('the same, for each filter', Math.round((there - thereBefore) / count), 'B')
  row('the node whose clients have them: more by', MiB(here - hereBefore), 'MiB')
  filler.end()
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

const scenarios = { visible, changes, link, memory, detect, handover, ...gossipScenarios }
const chosen = values.only?.split(',') ?? Object.keys(scenarios)
let failed = false
for (const name of chosen) {
  const scenario = scenarios[name]
  if (!scenario) throw new Error(`no scenario "${name}"; there are ${Object.keys(scenarios).join(', ')}`)
  console.log(`\n${name}`)
  const { run, names: nodes, watched } = scenario.run ? scenario : { run: scenario, names: ['a', 'b', 'c'] }
  const cluster = await startCluster(path.resolve(main), nodes, { watched })
  try {
    await run(cluster, { row, quick })
  } catch (fault) {
    failed = true
    console.log(`  failed: ${fault.message}`)
  } finally {
    await cluster.stop()
  }
}
process.exitCode = failed || rows.some(({ isMet }) => isMet === false) ? 1 : 0
