// What asking permission costs a publish, with 100 rules: what is known, and what must be decided.
//   npm run -s build && node --expose-gc bench/access.mjs
//   node bench/access.mjs --brokers      whole brokers, without rules and with 100
// Run it alone. The bare loop is what the others cost without the question.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Permissions } from '../dist/access/permissions.js'
import { Act, compileRules } from '../dist/access/rules.js'
import { parseFilter, Topic } from '../dist/mqtt/topic.js'
import { freePorts, removeFolder, runToEnd, startServer, temporaryFolder } from './processes.mjs'

const kinds = [
  (at) => ({ effect: 'allow', who: { users: [`user-${at}`] }, actions: ['publish'], topics: [`site/${at}/#`] }),
  (at) => ({
    effect: 'deny',
    who: { everybody: true },
    actions: ['publish', 'receive'],
    topics: [`site/+/secret-${at}/#`],
  }),
  (at) => ({
    effect: 'allow',
    who: { groups: [`group-${at}`] },
    actions: ['receive', 'subscribe'],
    topics: [`area/${at}/+/x`],
  }),
  (at) => ({
    effect: 'allow',
    who: { everybody: true },
    actions: ['publish', 'retain'],
    topics: [`dev/%c/${at}/#`, `user/%u/${at}`],
  }),
]
const rules = Array.from({ length: 100 }, (_, at) => kinds[at % kinds.length](at))
rules[99] = {
  effect: 'allow',
  who: { everybody: true },
  actions: ['publish', 'receive', 'subscribe'],
  topics: ['dev/%c/#'],
}

const topicOf = (name) => new Topic(name, Buffer.from(name))
const bits = Act.publish | Act.receive

/** Best of five, in nanoseconds each; the sum of answers keeps the loop from being dropped. */
function measure(name, times, run) {
  let best = Infinity
  let allowed = 0
  for (let round = 0; round < 6; round++) {
    globalThis.gc?.()
    const start = process.hrtime.bigint()
    allowed = run(times)
    const ns = Number(process.hrtime.bigint() - start) / times
    if (round > 0) best = Math.min(best, ns)
  }
  console.log(`${name}: ${best.toFixed(1)} ns each (${allowed} of ${times} allowed)`)
  return best
}

/** As many pairs as there are clients and topics, each asked in turn; the order is fixed and mixed. */
function world(clientCount, topicCount, policies) {
  const permissions = new Permissions(policies)
  const clients = Array.from({ length: clientCount }, (_, at) =>
    permissions.for({ user: `user-${at}`, groups: [`group-${at}`] }, `client-${at}`),
  )
  const topics = Array.from({ length: topicCount }, (_, at) =>
    topicOf(`dev/client-${at % clientCount}/${at}/temperature`),
  )
  return { permissions, clients, topics }
}

const policies = [compileRules(rules)]
const ask = ({ clients, topics }) => {
  const [c, t] = [clients.length - 1, topics.length - 1]
  return (times) => {
    let allowed = 0
    for (let i = 0; i < times; i++) if (clients[(i * 7) & c].may(bits, topics[(i * 13) & t])) allowed++
    return allowed
  }
}
const bare = ({ clients, topics }) => {
  const [c, t] = [clients.length - 1, topics.length - 1]
  return (times) => {
    let allowed = 0
    for (let i = 0; i < times; i++) if (clients[(i * 7) & c] !== topics[(i * 13) & t]) allowed++
    return allowed
  }
}

if (process.argv.includes('--brokers')) await brokers(Number(process.argv[process.argv.indexOf('--brokers') + 1]) || 5)
else questions()

function questions() {
  const million = 1_000_000
  for (const [clients, topics] of [
    [1, 1],
    [16, 1024],
    [1024, 16],
  ]) {
    const open = world(clients, topics, [])
    const closed = world(clients, topics, policies)
    const name = `${clients} clients, ${topics} topics`
    const without = measure(`${name}, bare loop`, 10 * million, bare(closed))
    measure(`${name}, no rules`, 10 * million, ask(open))
    const known = measure(`${name}, 100 rules, known`, 10 * million, ask(closed))
    console.log(
      `  a known answer: ${(known - without).toFixed(1)} ns; table ${closed.permissions.decisions.size} entries`,
    )
  }

  {
    const { permissions, clients, topics } = world(16, 1024, policies)
    measure('100 rules, decided anew', 20_000, (times) => {
      let allowed = 0
      for (let i = 0; i < times; i++) {
        if ((i & 255) === 0) permissions.reload(policies)
        if (clients[i & 15].may(bits, topics[(i * 13) & 1023])) allowed++
      }
      return allowed
    })
    const many = world(10_000, 1, policies)
    const each = measure('100 rules, a new topic for 10,000 subscribers', 100_000, (times) => {
      let allowed = 0
      for (let i = 0, topic; i < times; i++) {
        if (i % 10_000 === 0) topic = topicOf(`site/7/secret-${i}/x`)
        if (many.clients[i % 10_000].receives(topic)) allowed++
      }
      return allowed
    })
    console.log(`  ${(each / 100).toFixed(1)} ms for all of them`)
    const filter = parseFilter('dev/client-1/#').filter
    measure('100 rules, a filter', 20_000, (times) => {
      let allowed = 0
      for (let i = 0; i < times; i++) if (clients[1].mayFilter(filter, false)) allowed++
      return allowed
    })
  }
}

// Whole brokers, without rules and with 100, one after the other in each round: messages a second, medians of the rounds.
//   --brokers [rounds]; more brokers to measure without rules: --beside PATH of their dist/main.js
async function brokers(rounds) {
  const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))
  const beside = process.argv.indexOf('--beside')
  const folder = temporaryFolder()
  const file = path.join(folder, 'rules.yaml')
  const open = { effect: 'allow', who: { everybody: true } }
  const everything = { ...open, actions: ['publish', 'subscribe', 'receive'], topics: ['bench/#'] }
  writeFileSync(file, JSON.stringify({ permissions: [...rules.slice(0, 99), everything] }))
  const kinds = [
    ['no rules', main, []],
    ['100 rules', main, ['--config', file]],
    ...(beside < 0 ? [] : [['beside', path.resolve(process.argv[beside + 1]), []]]),
  ]
  const loads = [
    ['QoS 0, 1 to 1', ['-q', '0', '-n', '1', '-C', '1200000', '--warmup', '400000']],
    ['QoS 1, 10 to 10', ['-q', '1', '-n', '10', '-C', '400000', '--warmup', '150000']],
  ]
  for (const [load, flags] of loads) {
    const found = new Map(kinds.map(([kind]) => [kind, []]))
    for (let round = 0; round < rounds; round++)
      for (const [kind, program, more] of round % 2 === 0 ? kinds : kinds.toReversed()) {
        const [port] = await freePorts(1)
        const url = `tcp://127.0.0.1:${port}`
        const start = [process.execPath, program, 'start', '--durability', 'memory', '--listen', url, ...more]
        const server = await startServer(0, start, port, folder)
        const bench = [
          process.execPath,
          main,
          'bench',
          'pub',
          '-p',
          `${port}`,
          ...flags,
          '--json',
          '--quiet',
          '--prefix',
          'bench',
        ]
        const { code, stdout, stderr } = await runToEnd(1, bench, 30)
        await server.stop()
        if (code !== 0) throw new Error(`${kind}: ${stderr || stdout}`)
        found.get(kind).push(JSON.parse(stdout).outPerSecond)
      }
    const none = median(found.get('no rules'))
    for (const [kind, figures] of found) {
      const middle = median(figures)
      const share = ((middle / none - 1) * 100).toFixed(1)
      console.log(`${load}, ${kind}: ${Math.round(middle)}/s, ${share}% (${figures.map(Math.round).join(' ')})`)
    }
  }
  removeFolder(folder)
}

function median(figures) {
  return figures.toSorted((a, b) => a - b)[figures.length >> 1]
}
