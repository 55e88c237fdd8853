// What 100 rules cost a whole broker: what they add to the way of a message (access.cost.mjs), as a share of the processor time
// that a broker behind sockets takes for one. Two brokers behind sockets differ by more than that from run to run.
//   node bench/access.mjs --brokers
import { costs } from './access.cost.mjs'
import { freePorts, processorNs, removeFolder, runToEnd, startServer, temporaryFolder } from './processes.mjs'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))
const allowed = {
  effect: 'allow',
  who: { everybody: true },
  actions: ['publish', 'subscribe', 'receive'],
  topics: ['bench/#'],
}
/** Of what is subscribed to, a part is denied, so that each delivery is asked of. */
const denied = { ...allowed, effect: 'deny', topics: ['bench/+/never'] }
const loads = [
  { name: 'QoS 0, 1 to 1', qos: 0, couples: 1, messages: 800_000 },
  { name: 'QoS 1, 10 to 10', qos: 1, couples: 10, messages: 400_000 },
]
/** The engine compiles the same code another way from start to start. */
const starts = 7
const pairs = 200
const runs = 5

/** @param rules those that are about others */
export async function compareBrokers(rules) {
  for (const load of loads) {
    const wholeNs = await processorTime(load)
    console.log(`${load.name}: ${wholeNs.toFixed(0)} ns of processor a message without rules, behind sockets`)
    for (const [what, own] of [
      ['all that comes is allowed', [allowed]],
      ['each delivery is asked of', [allowed, denied]],
    ]) {
      const all = [...rules.slice(own.length), ...own]
      const medians = []
      for (let start = 0; start < starts; start++) medians.push(median(await costs(load, all, pairs)))
      const [least, most] = [Math.min(...medians), Math.max(...medians)]
      const share = (ns) => `${((ns / wholeNs) * 100).toFixed(1)}%`
      console.log(
        `  ${all.length} rules, ${what}: ${median(medians).toFixed(1)} ns (${least.toFixed(1)} to ${most.toFixed(1)}), ` +
          `${share(median(medians))} (${share(least)} to ${share(most)})`,
      )
    }
  }
}

/** The least of some runs: what is found besides is the neighbours'. */
async function processorTime({ qos, couples, messages }) {
  const folder = temporaryFolder()
  const [port] = await freePorts(1)
  const listen = ['--listen', `tcp://127.0.0.1:${port}`, '--admin', 'off']
  const start = [process.execPath, main, 'start', '--durability', 'memory', ...listen]
  const server = await startServer(0, start, port, folder)
  let least = Infinity
  for (let run = 0; run < runs; run++) {
    const begun = processorNs(server.pid)
    const load = [
      '-q',
      String(qos),
      '-n',
      String(couples),
      '-C',
      String(messages / 2),
      '--warmup',
      String(messages / 2),
    ]
    const bench = [process.execPath, main, 'bench', 'pub', '-p', String(port), ...load, '--json', '--quiet']
    const { code, stdout, stderr } = await runToEnd(1, bench, 30)
    if (code !== 0) throw new Error(stderr || stdout)
    least = Math.min(least, (processorNs(server.pid) - begun) / messages)
  }
  await server.stop()
  removeFolder(folder)
  return least
}

function median(figures) {
  return figures.sort((a, b) => a - b)[Math.floor(figures.length / 2)]
}
