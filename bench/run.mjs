// Measures godwit beside others on this machine, and beside the bare lane, which only moves bytes.
//
//   npm run bench -- [--quick] [--rounds N] [--only scenario,…] [--contenders a,b] [--generator mqload=PATH] [--main PATH]
//                    [--baseline FILE]
//
// Scenarios come in groups: `--only memory` and `--only disk` take all of one. What is kept is kept in a folder of the
// system's temporary one (TMPDIR), which should be on a disk. Another build of godwit takes part beside this one as
// `--contenders godwit,godwit@PATH`, PATH being its dist/main.js; --baseline compares with a file of bench/results.
//
// Every broker runs on core 0 and the generator on core 1, one contender after the other in each round, so that whatever
// else the machine does hits them alike. The figures are medians of the rounds. Exits 1 when godwit lost a message.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { contenders } from './contenders.mjs'
import { godwitGenerator, mqloadGenerator } from './generators.mjs'
import { measure } from './measure.mjs'
import { canPin, runToEnd } from './processes.mjs'
import { behind, changes, faultsOf, legend, rowsOf, table } from './report.mjs'
import { scenarios } from './scenarios.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const normal = { seconds: 1.5, warmupSeconds: 0.5, probe: 20_000, rounds: 3 }
const quick = { seconds: 0.5, warmupSeconds: 0.25, probe: 10_000, rounds: 1 }
/** Not a load on a broker, but on its subscription tree alone: a program of its own. */
const subscriptions = 'subscriptions'
const groups = ['memory', 'disk']
/** What statfs says of a file system in memory. */
const tmpfs = 0x01021994

const options = readOptions()
const pace = options.pace
const others = (options.contenders?.split(',') ?? []).filter((name) => name.startsWith('godwit@'))
const all = contenders(options.main, others)
const chosen = pick('--contenders', options.contenders, [...all.keys()])
const ids = pickScenarios(options.only)
const names = chosen.filter((name) => {
  const { missing } = all.get(name)
  if (missing) note(`${name} is left out: ${missing}`)
  return !missing
})
const generator = options.mqload ? mqloadGenerator(options.mqload) : godwitGenerator(options.main)
const machine = {
  date: new Date().toISOString(),
  cores: os.availableParallelism(),
  cpu: os.cpus()[0]?.model.trim(),
  memoryGiB: Math.round(os.totalmem() / 2 ** 30),
  kernel: os.release(),
  node: process.version,
  pinned: canPin,
  loadAverage: [os.loadavg()],
  revision: revision(),
}
note(`${machine.cores} cores (${machine.cpu}), Node ${machine.node}, Linux ${machine.kernel}, ${machine.date}`)
note(`load by ${generator.name}, ${pace.rounds} round${pace.rounds === 1 ? '' : 's'}`)
if (!canPin) note('not pinned to cores: needs taskset and two cores; the figures will be noisier')

if (options.quick) note('--quick: smaller loads than the titles say')

const wanted = scenarios.filter(({ id }) => ids.includes(id)).map((scenario) => sized(scenario))
if (wanted.some(({ group }) => group === 'disk') && statfsSync(os.tmpdir()).type === tmpfs)
  note(`${os.tmpdir()} is in memory, and no disk is measured: TMPDIR names another`)
const runs = Object.fromEntries(wanted.map(({ id }) => [id, {}]))
const known = new Map()
for (let round = 0; round < pace.rounds; round++)
  for (const scenario of wanted) if (round < (scenario.rounds ?? pace.rounds)) await runRound(scenario, round)

const rows = wanted.flatMap((scenario) => rowsOf(scenario, runs[scenario.id]))
const faults = wanted.flatMap((scenario) => faultsOf(scenario, runs[scenario.id]))
for (const group of groups) {
  const shown = rows.filter((row) => row.group === group)
  const part = names.filter((name) => all.get(name).groups.includes(group))
  if (shown.length > 0) process.stdout.write(`${group}\n${table(shown, faults, part)}\n\n`)
}
if (rows.some(({ full }) => full.length > 0)) process.stdout.write(`${legend}\n`)
for (const { id, contender, lost, text } of faults) {
  process.stdout.write(`${id}, ${contender}: ${text}${lost > 0 ? `; LOST ${lost} messages` : ''}\n`)
  // Some contenders lose what they have acknowledged: that is said, and no fault of this program.
  if (lost > 0 && contender.startsWith('godwit')) process.exitCode = 1
}
for (const other of others) for (const line of behind(rows, other)) process.stdout.write(`slower, ${line}\n`)
if (options.earlier) process.stdout.write(`\n${changes(rows, options.earlier.rows, names)}\n`)
machine.loadAverage.push(os.loadavg())
const [busy] = machine.loadAverage.map(([lastMinute]) => lastMinute).sort((a, b) => b - a)
// The broker and the generator alone make about one for each core.
if (busy > machine.cores + 1)
  process.stdout.write(
    `load average ${busy.toFixed(1)} on ${machine.cores} cores: others were at work, trust no figure here\n`,
  )
const routing = ids.includes(subscriptions) ? await measureSubscriptions() : undefined
save()

async function runRound(scenario, round) {
  for (const name of names) {
    const contender = all.get(name)
    const lacking = scenario.needs.filter((need) => contender.lacks.includes(need))
    if (lacking.length > 0 || !contender.groups.includes(scenario.group)) continue
    const key = `${name} ${scenario.id}`
    const result = await measure(contender, scenario, generator, pace, known.get(key))
    if (result.takenPerSecond) known.set(key, result.takenPerSecond)
    const list = (runs[scenario.id][name] ??= [])
    list.push(result)
    const shown = scenario.rows.map(({ figure, unit }) => `${Math.round(result.figures[figure] ?? NaN)} ${unit}`)
    note(`  round ${round + 1}  ${scenario.id}  ${name}: ${result.fault ?? shown.join(', ')}`)
  }
}

function sized(scenario) {
  return options.quick ? { ...scenario, load: { ...scenario.load, ...scenario.quick } } : scenario
}

async function measureSubscriptions() {
  const folder = fileURLToPath(new URL('.', import.meta.url))
  const results = {}
  for (const file of readdirSync(folder).filter((name) => /^routing.*\.mjs$/.test(name))) {
    const { code, stdout, stderr } = await runToEnd(1, [process.execPath, '--expose-gc', folder + file], 300)
    process.stdout.write(`\n${file}\n${stdout}${stderr}`)
    if (code !== 0) process.exitCode = 1
    results[file] = stdout.trim().split('\n')
  }
  return results
}

function save() {
  const folder = fileURLToPath(new URL('results/', import.meta.url))
  mkdirSync(folder, { recursive: true })
  const file = `${folder}${machine.date.replaceAll(':', '-').slice(0, 19)}.json`
  const settings = { generator: generator.name, rounds: pace.rounds, seconds: pace.seconds, contenders: names }
  const text = JSON.stringify({ schemaVersion: 1, machine, settings, rows, faults, runs, routing }, undefined, 2)
  writeFileSync(file, `${text}\n`)
  note(`saved ${file}`)
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        only: { type: 'string' },
        contenders: { type: 'string' },
        generator: { type: 'string' },
        main: { type: 'string', default: `${root}dist/main.js` },
        baseline: { type: 'string' },
      },
    })
    const pace = values.quick ? quick : normal
    const rounds = Number(values.rounds ?? pace.rounds)
    if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds is a whole number from 1')
    const [kind, program] = values.generator?.split('=') ?? []
    if (kind !== undefined && (kind !== 'mqload' || !program)) throw new Error('--generator is mqload=PATH')
    if (!existsSync(values.main)) throw new Error(`${values.main} is not there: npm run build makes it`)
    const earlier = values.baseline && JSON.parse(readFileSync(values.baseline, 'utf8'))
    return { ...values, pace: { ...pace, rounds }, mqload: program, earlier }
  } catch (error) {
    return usage(error.message)
  }
}

function pickScenarios(given) {
  const known = scenarios.map(({ id }) => id)
  if (given === undefined) return known
  const named = pick('--only', given, [...groups, ...known, subscriptions])
  return [...known, subscriptions].filter(
    (id) => named.includes(id) || named.includes(scenarios.find((scenario) => scenario.id === id)?.group),
  )
}

function pick(flag, given, known) {
  if (given === undefined) return known
  const names = given.split(',')
  for (const name of names) if (!known.includes(name)) usage(`${flag}: "${name}" is none of ${known.join(', ')}`)
  return known.filter((name) => names.includes(name))
}

function usage(message) {
  note(`bench: ${message}`)
  process.exit(2)
}

function revision() {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] })
      .toString()
      .trim()
  } catch {
    return undefined
  }
}

function note(text) {
  process.stderr.write(`${text}\n`)
}
