// npm run abuse [-- --full] [--only ROW,…]: what the broker bears, as figures with their limits. The classes of abuse that
// can be told without a clock are tests (test/abuse); docs/security.md has both.
//
//   bench/abuse/*.mjs ── export default { name, row, run({ full }) } ──▶ a process of its own ──▶ a line of the table
//
// row: its number among the classes of abuse, or a word for the fault. run gives { figure, unit, limit, ok, command? }.
// heavy: only with --full, or by name.
import { fork, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'

const folder = new URL('abuse/', import.meta.url)
const seconds = { short: 60, full: 3600 }

const { values } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    list: { type: 'boolean', default: false },
    /** For a process of ours: the file and the place in it. */
    one: { type: 'string' },
  },
})

if (values.one !== undefined) await measure(values.one)
else process.exitCode = await measureAll()

/** In a process of its own: one figure, told to the parent. */
async function measure(name) {
  const [file, at] = name.split('#')
  const figure = (await figuresOf(file))[Number(at)]
  const result = await figure.run({ full: values.full })
  process.send(result, () => process.exit(0))
}

async function measureAll() {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.mjs'))
    .sort()
  const all = []
  for (const file of files)
    for (const [at, figure] of (await figuresOf(file)).entries()) all.push({ ...figure, id: `${file}#${at}` })
  const asked = values.only === '' ? [] : values.only.split(',').map((word) => word.trim())
  const unknown = asked.filter((word) => !all.some(({ row }) => String(row) === word))
  if (unknown.length > 0) {
    const rows = [...new Set(all.map(({ row }) => row))].join(', ')
    console.error(`error: no figure for ${unknown.join(', ')}; there are ${rows}`)
    return 2
  }
  const chosen = asked.length === 0 ? all : all.filter(({ row }) => asked.includes(String(row)))
  const wide = Math.max(...chosen.map(({ name }) => name.length))
  let held = true
  for (const { id, row, name, heavy = false } of chosen) {
    const head = `${String(row).padStart(11)}  ${name.padEnd(wide)}`
    if (heavy && !values.full && asked.length === 0) {
      console.log(`${head}  left  to --full, or --only '${row}'`)
      continue
    }
    if (values.list) {
      console.log(head)
      continue
    }
    const startedMs = performance.now()
    const result = await apart(id)
    const tookSeconds = ((performance.now() - startedMs) / 1000).toFixed(0)
    held &&= result.ok
    const told = 'fault' in result ? result.fault : `${shown(result.figure)} ${result.unit}, limit ${result.limit}`
    const again = result.command === undefined ? '' : `  (${result.command})`
    console.log(`${head}  ${result.ok ? 'ok  ' : 'FAIL'}  ${told}, ${tookSeconds} s${again}`)
  }
  return held ? 0 : 1
}

async function figuresOf(file) {
  const { default: figures } = await import(new URL(file, folder))
  const list = Array.isArray(figures) ? figures : [figures]
  for (const figure of list)
    if (figure === undefined || typeof figure.name !== 'string' || typeof figure.run !== 'function')
      throw new Error(`bench/abuse/${file} has no figures: export default { name, row, run }`)
  return list
}

/** One figure in a process of its own, which ends in time. A fault is a figure that is not held. */
function apart(id) {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(import.meta.url), ['--one', id, ...(values.full ? ['--full'] : [])], {
      execArgv: ['--expose-gc'],
      // What it prints goes to people; stdout is the table.
      stdio: ['ignore', 2, 2, 'ipc'],
      detached: true,
    })
    const most = values.full ? seconds.full : seconds.short
    let result
    let late = false
    // Its own processes end with it, also those in groups of their own.
    const end = () => {
      for (const pid of descendants(child.pid)) kill(pid)
      kill(-child.pid)
    }
    const timer = setTimeout(() => {
      late = true
      end()
    }, most * 1000)
    const interrupted = () => {
      end()
      process.exit(130)
    }
    process.once('SIGINT', interrupted)
    child.on('message', (told) => (result = told))
    child.on('close', (code) => {
      clearTimeout(timer)
      process.off('SIGINT', interrupted)
      end()
      if (late) resolve({ ok: false, fault: `not done in ${most} s` })
      else resolve(result ?? { ok: false, fault: `it ended with ${code} and gave no figure` })
    })
  })
}

function descendants(root) {
  const parents = spawnSync('ps', ['-e', '-o', 'pid=,ppid='], { encoding: 'utf8' }).stdout.trim().split('\n')
  const found = [root]
  const pairs = parents.map((line) => line.trim().split(/\s+/).map(Number))
  for (const above of found) for (const [pid, parent] of pairs) if (parent === above) found.push(pid)
  return found.slice(1)
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}

function shown(figure) {
  if (typeof figure !== 'number') return String(figure)
  return Number.isInteger(figure) ? figure.toLocaleString('en') : figure.toFixed(figure < 10 ? 2 : 1)
}
