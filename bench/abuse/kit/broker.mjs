// A broker in a process of its own, and what it bears: its resident memory as /proc has it; its heap behind a collection, and how
// long its loop stood still, by the engine's inspector, so that nothing of that need be in the product.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import { removeFolder, temporaryFolder } from '../../processes.mjs'

const main = fileURLToPath(new URL('../../../dist/main.js', import.meta.url))

/**
 * @param config YAML; listeners on port 0, of which `ports` says what became of them
 * @param files of the folder that the configuration stands in
 * @param inspected is the engine asked?
 */
export async function startBroker(config, { files = {}, inspected = false } = {}) {
  const folder = temporaryFolder()
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const file = join(folder, 'godwit.yaml')
  writeFileSync(file, `admin: { listen: off }\nlogLevel: error\n${config}`)
  const node = inspected ? ['--inspect=127.0.0.1:0'] : []
  const child = spawn(process.execPath, [...node, main, 'start', '--config', file, '--data', join(folder, 'data')])
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text) => (complaint = (complaint + text).slice(-4000)))
  const screen = await screenOf(child, () => complaint)
  const engine = inspected ? await Engine.of(complaint) : undefined
  return {
    ports: Object.fromEntries(
      [...screen.matchAll(/(\w+):\/\/127\.0\.0\.1:(\d+)/g)].map(([, name, port]) => [name, +port]),
    ),
    rssBytes: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) * 1024,
    engine,
    async stop() {
      engine?.close()
      child.kill('SIGKILL')
      await once(child, 'close')
      removeFolder(folder)
    },
  }
}

async function screenOf(child, complaint) {
  let screen = ''
  child.stdout.setEncoding('utf8').on('data', (text) => (screen += text))
  while (!screen.includes('demo/hello -m hi'))
    await Promise.race([
      once(child.stdout, 'data'),
      once(child, 'exit').then(() => Promise.reject(new Error(`the broker does not start: ${complaint()}`))),
    ])
  return screen
}

/** What the inspector says of a process. */
class Engine {
  #socket
  #asked = new Map()
  #next = 0

  static async of(complaint) {
    const engine = new Engine()
    const socket = (engine.#socket = new WebSocket(/Debugger listening on (ws:\S+)/.exec(complaint)[1]))
    socket.on('message', (text) => {
      const { id, result } = JSON.parse(text)
      engine.#asked.get(id)?.(result)
      engine.#asked.delete(id)
    })
    await once(socket, 'open')
    await engine.#ask('HeapProfiler.enable')
    return engine
  }

  /** Bytes in use, behind whole collections. */
  async heapBytes() {
    for (let times = 0; times < 3; times++) await this.#ask('HeapProfiler.collectGarbage')
    return (await this.#ask('Runtime.getHeapUsage')).usedSize
  }

  /** From here on the loop is watched. */
  async watchLoop() {
    const watch = "process.getBuiltinModule('node:perf_hooks').monitorEventLoopDelay({ resolution: 1 })"
    await this.#evaluate(`(globalThis.watched = ${watch}).enable()`)
  }

  /** The longest that the loop stood still since it was asked last, in milliseconds. */
  async longestStallMs() {
    const longest = await this.#evaluate('[watched.max, watched.reset()][0]')
    return longest / 1e6
  }

  close() {
    this.#socket.terminate()
  }

  async #evaluate(expression) {
    const { result, exceptionDetails } = await this.#ask('Runtime.evaluate', { expression })
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`)
    return result.value
  }

  #ask(method, params = {}) {
    const id = ++this.#next
    return new Promise((resolve) => {
      this.#asked.set(id, resolve)
      this.#socket.send(JSON.stringify({ id, method, params }))
    })
  }
}
