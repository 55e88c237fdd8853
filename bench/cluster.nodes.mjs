// Real nodes of one cluster on this machine, for measurements: each a process; all of it is gone when the harness ends.
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { freePorts, removeFolder, temporaryFolder } from './processes.mjs'

const startMs = 20_000
const watcher = new URL('cluster.watch.mjs', import.meta.url).href
const running = new Set()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

// What is measured is the way, not the limits.
const unlimited =
  '{ queueMessages: 1000000000, queueBytes: 1099511627776, queueBytesTotal: 1099511627776, sysSeconds: 0, subscriptionsPerSession: 1000000 }'

/**
 * @param options.watched whether nodes tell how long their event loops were held up
 * @returns nodes that know each other, and what ends them
 */
export async function startCluster(main, names, { watched = false } = {}) {
  const folder = temporaryFolder()
  const identity = path.join(folder, 'identity')
  const init = spawnSync(process.execPath, [main, 'cluster', 'init', identity], { encoding: 'utf8' })
  if (init.status !== 0) throw new Error(`cluster init: ${init.stderr}`)
  const nodes = []
  /** One more node, which is not started yet. */
  const add = async (name) => {
    const [port, link] = await freePorts(2)
    const seeds = nodes.map((node) => node.link)
    const node = new Node(main, name, { port, link, identity, data: path.join(folder, name), seeds, watched })
    nodes.push(node)
    return node
  }
  for (const name of names) await add(name)
  for (const node of nodes) await node.start()
  const cluster = {
    nodes,
    add,
    whole: () =>
      Promise.all(nodes.map((node) => node.until((others) => others.length === nodes.length && others.every(isThere)))),
    stop: async () => {
      await Promise.all(nodes.map((node) => node.end('SIGKILL')))
      removeFolder(folder)
    },
  }
  await cluster.whole()
  return cluster
}

const isThere = ({ state, version }) => state === 'self' || (state === 'alive' && version > 0)

export class Node {
  #child
  #ended = Promise.resolve()
  #admin

  constructor(main, name, { port, link, identity, data, seeds, watched }) {
    Object.assign(this, { main, name, port, link, identity, data, seeds, isWatched: watched })
  }

  get pid() {
    return this.#child.pid
  }

  async start() {
    const { main, name, port, link, identity, data, seeds } = this
    const joins = seeds.flatMap((seed) => ['--join', `127.0.0.1:${seed}`])
    const args = [
      main,
      'start',
      '--listen',
      `tcp://127.0.0.1:${port}`,
      '--data',
      data,
      '--log-level',
      'warn',
      '--admin',
      '127.0.0.1:0',
    ]
    args.push('--cluster', identity, '--node', name, '--cluster-listen', `127.0.0.1:${link}`, ...joins)
    const config = path.join(data, '..', `${name}.yaml`)
    writeFileSync(config, `limits: ${unlimited}\n`)
    const stdio = ['ignore', 'pipe', 'pipe', ...(this.isWatched ? ['ipc'] : [])]
    const watch = this.isWatched ? ['--import', watcher] : []
    const child = spawn(process.execPath, [...watch, ...args, '--config', config], { stdio })
    this.#child = child
    running.add(child)
    this.#ended = new Promise((resolve) => child.once('exit', resolve)).finally(() => running.delete(child))
    let [shown, complaint] = ['', '']
    child.stderr.on('data', (text) => (complaint = (complaint + text).slice(-2000)))
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`node ${name} did not start: ${complaint}`)), startMs)
      child.stdout.on('data', (text) => {
        shown += text
        if (!shown.includes('demo/hello')) return
        clearTimeout(timer)
        resolve()
      })
      void this.#ended.then(() => reject(new Error(`node ${name} ended: ${complaint}`)))
    })
    this.#admin = {
      url: /admin: (http:\S+)/.exec(shown)[1],
      token: readFileSync(path.join(data, 'admin-token'), 'utf8').trim(),
    }
  }

  async get(url) {
    const answer = await fetch(`${this.#admin.url}${url}`, {
      headers: { authorization: `Bearer ${this.#admin.token}` },
    })
    if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`)
    return answer.json()
  }

  /** @returns milliseconds until the nodes, as this one sees them, are as `done` wants them */
  async until(done, mostMs = 60_000) {
    const begun = performance.now()
    for (;;) {
      const { nodes } = await this.get('/v1/cluster')
      const ms = performance.now() - begun
      if (done(nodes)) return ms
      if (ms > mostMs) throw new Error(`${this.name} waits in vain: ${JSON.stringify(nodes)}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  /** How long its event loop was held up at most since the last question, and what it has used of a core since its start. */
  watched() {
    const answer = new Promise((resolve) => this.#child.once('message', resolve))
    this.#child.send('watched')
    return answer
  }

  signal(name) {
    this.#child.kill(name)
  }

  async end(signal) {
    this.#child?.kill(signal)
    await this.#ended
  }
}
