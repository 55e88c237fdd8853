// Log-ins that fail: what their time tells, and what they cost those who are in.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { PasswordAuthenticator, PasswordBook, PasswordCheck } from '../../dist/access/passwords.js'
import { Chain } from '../../dist/access/chain.js'
import { hashPassword, parseHash } from '../../dist/access/password-hash.js'
import { createBroker } from '../../dist/index.js'
import { digests } from '../../dist/platform/digests.js'
import { random } from '../../dist/platform/host.js'
import { PasswordPool } from '../../dist/platform/password-pool.js'
import mqtt from 'mqtt'

const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
const inOrder = (numbers) => [...numbers].sort((a, b) => a - b)

const timing = {
  row: 16,
  name: 'medians of a wrong password, known and unknown user',
  async run({ full }) {
    const pool = new PasswordPool({ threads: 1 })
    const hash = parseHash(await hashPassword(pool, random, Buffer.from('right')))
    const check = new PasswordCheck(pool, digests, random)
    const chain = new Chain(
      [new PasswordAuthenticator('users', new PasswordBook([['known', { password: hash }]]), check)],
      check,
    )
    const times = { known: [], unknown: [] }
    for (let attempt = 0; attempt < (full ? 1000 : 120); attempt++)
      // By turns, so that what the machine does meanwhile happens to both.
      for (const username of attempt % 2 ? ['known', 'unknown'] : ['unknown', 'known']) {
        const password = Buffer.from(`wrong ${attempt}`)
        const startMs = performance.now()
        await chain.authenticate({ clientId: 'c', username, password, remote: '127.0.0.1:1', protocol: 'tcp' })
        times[username].push(performance.now() - startMs)
      }
    await pool.close()
    const [known, unknown] = [times.known, times.unknown].map((all) => at(inOrder(all), 0.5))
    const figure = Math.round((Math.abs(known - unknown) / known) * 1000) / 10
    return { figure, unit: `% apart, of ${known.toFixed(1)} ms`, limit: 5, ok: figure < 5 }
  },
}

/** Time from PUBLISH to PUBACK of QoS 1, 100 a second, for so many seconds. */
async function traffic(client, seconds) {
  const times = []
  for (let n = 0; n < seconds * 100; n++) {
    const startMs = performance.now()
    await client.publishAsync('t', 'x', { qos: 1 })
    times.push(performance.now() - startMs)
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, 10 - (performance.now() - startMs))))
  }
  return inOrder(times)
}

const guessing = {
  row: 'log-ins',
  name: '500 wrong log-ins a second beside durable traffic: p99 of PUBACK',
  async run({ full }) {
    const seconds = full ? 60 : 5
    const folder = mkdtempSync(join(tmpdir(), 'godwit-log-ins-'))
    const pool = new PasswordPool({ threads: 1 })
    const hash = await hashPassword(pool, random, Buffer.from('right'))
    await pool.close()
    writeFileSync(join(folder, 'users.yaml'), JSON.stringify({ users: { anna: { password: hash } } }), { mode: 0o600 })
    writeFileSync(join(folder, 'godwit.yaml'), 'auth: { users: users.yaml }\n')
    const broker = await createBroker({
      listen: 'tcp://127.0.0.1:0',
      data: join(folder, 'data'),
      config: join(folder, 'godwit.yaml'),
    })
    const url = broker.listeners[0].url.replace('tcp', 'mqtt')
    const client = await mqtt.connectAsync(url, { username: 'anna', password: 'right', protocolVersion: 5 })
    const delay = monitorEventLoopDelay({ resolution: 1 })
    try {
      const alone = at(await traffic(client, seconds), 0.99)
      let attempts = 0
      let answered = 0
      const guess = () => {
        // Each as another user: who guesses one user's password is slowed down.
        const username = attempts % 2 ? `u${attempts}` : `anna${attempts}`
        attempts++
        const guesser = mqtt.connect(url, { username, password: `wrong ${attempts}`, reconnectPeriod: 0 })
        guesser.on('error', () => answered++).on('close', () => guesser.end(true))
      }
      const begunMs = performance.now()
      const timer = setInterval(() => {
        for (const due = ((performance.now() - begunMs) / 1000) * 500; attempts < due;) guess()
      }, 10)
      delay.enable()
      const beside = at(await traffic(client, seconds), 0.99)
      clearInterval(timer)
      const stallMs = delay.max / 1e6
      const unit = `ms, ${alone.toFixed(1)} alone; ${attempts} tried, ${answered} refused; longest stall ${stallMs.toFixed(0)} ms, of clients too`
      return { figure: Math.round(beside * 10) / 10, unit, limit: 200, ok: beside < 200 && answered > 0 }
    } finally {
      await client.endAsync(true)
      await broker.close()
      rmSync(folder, { recursive: true })
    }
  },
}

export default [timing, guessing]
