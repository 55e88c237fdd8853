// What nodes tell each other of their filters, as real processes: rows of `npm run bench:cluster`.
import { Client } from './cluster.client.mjs'
import { memoryOf } from './processes.mjs'

const round = (value) => Math.round(value * 10) / 10
const quantile = (list, share) => list.sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))]

/** One node's filters change, 10,000 a second; the others follow. SUBACK leaves when they have: that is how it shows. */
async function follow({ nodes }, { row, quick }) {
  const seconds = quick ? 2 : 20
  const rate = 10_000
  const batch = 50
  const client = await Client.connect(nodes[0].port, 'changer')
  const before = await Promise.all(nodes.map((node) => node.watched()))
  const begun = performance.now()
  const tookMs = []
  const under = []
  let changed = 0
  // Open loop: so many a second, in batches, whether they are answered or not.
  for (let number = 0; performance.now() - begun < seconds * 1000; number++) {
    const waitMs = (changed / rate) * 1000 - (performance.now() - begun)
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    const filters = Array.from({ length: batch }, (_, n) => `change/${number}/${n}`)
    const askedMs = performance.now()
    under.push(
      client.subscribe(filters).then(() => {
        tookMs.push(performance.now() - askedMs)
        return client.unsubscribe(filters)
      }),
    )
    changed += 2 * batch
  }
  await Promise.all(under)
  const wallMs = performance.now() - begun
  const achieved = (changed / wallMs) * 1000
  row('one node: filter changes sustained, two follow', Math.round(achieved), '/s', '>= 10000', achieved >= rate * 0.98)
  const p99 = quantile(tookMs, 0.99)
  row('a new filter on both meanwhile: p99', round(p99), 'ms', '< 250', p99 < 250)
  const after = await Promise.all(nodes.map((node) => node.watched()))
  for (const [at, { name }] of nodes.entries()) {
    const { stalls, cpuMs } = after[at]
    const share = Math.round((100 * (cpuMs - before[at].cpuMs)) / wallMs)
    stallRow(row, `node ${name}, at ${share}% of a core`, stalls)
  }
  client.end()
}

/** Two nodes have a million filters; a third joins. */
async function join(cluster, { row, quick }) {
  const nodes = [...cluster.nodes]
  const filters = quick ? 20_000 : 1_000_000
  const clients = 4
  const each = filters / nodes.length / clients
  const fillers = await Promise.all(
    nodes.flatMap((node) => Array.from({ length: clients }, (_, number) => fill(node, number, each))),
  )
  await same(nodes, filters, 60_000)
  // What they have just taken in is to be at rest.
  await new Promise((resolve) => setTimeout(resolve, quick ? 0 : 3000))
  const before = await Promise.all(nodes.map((node) => node.watched()))
  const joiner = await cluster.add('c')
  const begun = performance.now()
  const linkedMs = linked(nodes[0], 'c')
  await joiner.start()
  const startedMs = performance.now() - begun
  await same([...nodes, joiner], filters, 60_000)
  const equalMs = performance.now()
  const tookMs = equalMs - begun
  row(`a node joins ${filters} filters: its tables are equal after`, Math.round(tookMs), 'ms', '< 5000', tookMs < 5000)
  row('of that since it has a link', Math.round(equalMs - (await linkedMs)), 'ms')
  row('it takes clients after', Math.round(startedMs), 'ms')
  const joinedMs = performance.timeOrigin + (await linkedMs)
  for (const [at, node] of [...nodes, joiner].entries()) {
    const { stalls, longestGcMs, cpuMs } = await node.watched()
    row(`node ${node.name}: processor time`, Math.round(cpuMs - (before[at]?.cpuMs ?? 0)), 'ms')
    // A process that begins loads its code first: that is before it has joined anything.
    const counted = node === joiner ? stalls.filter(({ endMs }) => endMs > joinedMs) : stalls
    stallRow(row, `node ${node.name}, GC ${round(longestGcMs)} ms at most`, counted)
  }
  row(`memory of the node that joined`, Math.round(memoryOf(joiner.pid).anonymousBytes / 1e6), 'MB')
  for (const filler of fillers) filler.end()
}

/** The longest stretch that a node worked in one go: here all of them share the cores, so what it waited for one stands beside it. */
function stallRow(row, what, stalls) {
  const workedMs = Math.max(0, ...stalls.map(({ ms, withoutCoreMs }) => ms - withoutCoreMs))
  const stalledMs = Math.max(0, ...stalls.map(({ ms }) => ms))
  row(`${what}: longest stall but for waiting for a core`, round(workedMs), 'ms', '< 50', workedMs < 50)
  row(`${what}: with it`, round(stalledMs), 'ms')
}

/** When `node` has a link to `other`; it is asked so often, and may have had it since it was asked before. */
async function linked(node, other) {
  const askMs = 10
  await node.until((others) => others.some(({ node: name, version }) => name === other && version > 0))
  return performance.now() - 2 * askMs
}

/** Subscribes to so many filters that nobody publishes to. */
async function fill(node, number, count) {
  const client = await Client.connect(node.port, `filler-${node.name}-${number}`)
  const perPacket = 500
  for (let at = 0; at < count; at += perPacket)
    await client.subscribe(
      Array.from({ length: Math.min(perPacket, count - at) }, (_, n) => `filler/${node.name}/${number}/${at + n}/+`),
    )
  return client
}

/** Waits until each of `nodes` has the same of all, with so many filters. */
async function same(nodes, filters, mostMs) {
  const begun = performance.now()
  for (;;) {
    const all = await Promise.all(nodes.map((node) => node.get('/v1/cluster/routes')))
    const texts = new Set(
      all.map(({ tables }) => JSON.stringify([...tables].sort((a, b) => (a.node < b.node ? -1 : 1)))),
    )
    const entries = all[0].tables.reduce((sum, table) => sum + table.entries, 0)
    if (texts.size === 1 && all[0].tables.length === nodes.length && entries >= filters) return
    if (performance.now() - begun > mostMs) throw new Error(`tables differ: ${[...texts].join(' ')}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** By name: what runs, and the nodes that it begins with, who tell how long they were held up. */
export const gossipScenarios = {
  follow: { run: follow, names: ['a', 'b', 'c'], watched: true },
  join: { run: join, names: ['a', 'b'], watched: true },
}
