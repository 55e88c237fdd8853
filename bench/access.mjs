// What asking permission costs a publish, with 100 rules: what is known, and what must be decided.
//   npm run -s build && node --expose-gc bench/access.mjs
//   node bench/access.mjs --brokers      whole brokers, without rules and with 100: see access.brokers.mjs
// Run it alone. The bare loop is what the others cost without the question.
import { setFlagsFromString } from 'node:v8'
import { Permissions } from '../dist/access/permissions.js'
import { Act, compileRules } from '../dist/access/rules.js'
import { parseFilter, Topic } from '../dist/mqtt/topic.js'
import { compareBrokers } from './access.brokers.mjs'

// As src/main.ts has it: what is asked here must be inlined as it is there.
setFlagsFromString('--max-inlined-bytecode-size-cumulative=3000')

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

if (process.argv.includes('--brokers')) await compareBrokers(rules)
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
