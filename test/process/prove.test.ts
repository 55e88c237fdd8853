import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { command } from '../prove/command.ts'
import { prove } from '../prove/run.ts'
import { main, temporary } from '../support/program.ts'

// `npm run prove`: kills a real broker under load. More cycles: npm run prove -- --cycles 1000

const plan = { cycles: 4, seconds: 0.5, rate: 2000, patienceSeconds: 10, seed: 1 }

test('a broker that is killed keeps every promise', async () => {
  const outcome = await prove({ ...plan, broker: [process.execPath, main], data: join(temporary(), 'data') }, () => {})
  expect(outcome.findings.slice(0, 20)).toEqual([])
  expect(outcome.kills).toBe(plan.cycles + 1)
  expect(Math.min(...Object.values(outcome.acknowledged), ...Object.values(outcome.delivered))).toBeGreaterThan(0)
}, 90_000)

test('one that forgets everything does not', async () => {
  const folder = temporary()
  const forgetful = join(folder, 'forgetful.mjs')
  writeFileSync(
    forgetful,
    `import { rmSync } from 'node:fs'
     process.argv.splice(1, 1)
     rmSync(process.argv[process.argv.indexOf('--data') + 1], { recursive: true, force: true })
     await import(process.argv[1])`,
  )
  const data = join(folder, 'data')
  const broker = [process.execPath, forgetful, main]
  const { findings } = await prove({ ...plan, cycles: 2, patienceSeconds: 1, broker, data }, () => {})
  const found = new Set(findings.map(({ kind }) => kind))
  expect([...found]).toEqual(expect.arrayContaining(['lost', 'session vanished', 'retained went back', 'will lost']))
})

test('--help', async () => {
  const { code, result, note } = await run(['--help'])
  expect([code, note]).toEqual([0, ''])
  expect(result).toMatch(/^npm run prove/)
})

for (const [args, message] of [
  [['--cycles', '0'], '--cycles: must be a whole number from 1 to 1000000, not "0"'],
  [['--seconds', 'x'], '--seconds: must be a number from 0.01 to 3600, not "x"'],
  [['--unknown'], `Unknown option '--unknown'`],
  [['--data', '.'], '--data: . is not empty'],
  [['--broker', 'false'], 'false: it ended with 1'],
  [['--broker', 'no-such-program'], 'no-such-program: spawn no-such-program ENOENT'],
] as const)
  test(`${args.join(' ')}: 2`, async () => {
    const { code, result, note } = await run(args)
    expect([code, result]).toEqual([2, ''])
    expect(note).toContain(`error: ${message}`)
  })

async function run(args: readonly string[]): Promise<{ code: number; result: string; note: string }> {
  const written = { result: '', note: '' }
  const code = await command(args, {
    result: (text) => void (written.result += text),
    note: (text) => void (written.note += text),
  })
  return { code, ...written }
}
