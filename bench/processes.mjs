// Child processes on a core of their own, temporary folders and ports; all of it is gone when the harness ends.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'

const children = new Set()
const folders = new Set()
const longestStartMs = 15_000
const longestEndMs = 3000

/** Two cores are needed to pin at all: one for the broker, one for the generator. */
export const canPin = os.availableParallelism() >= 2 && isOnPath('taskset')

export function isOnPath(program) {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0
}

function launch(core, [program, ...args], options) {
  const pinned = canPin ? ['taskset', ['-c', String(core), program, ...args]] : [program, args]
  const child = spawn(...pinned, options)
  children.add(child)
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('exit', (code, signal) => resolve(signal ?? code))
  }).finally(() => children.delete(child))
  return { child, ended }
}

/** Starts a server, and waits until it takes connections. `stop(signal, atMostMs)` ends it. */
export async function startServer(core, command, port, folder, atMostMs = longestStartMs) {
  const { child, ended } = launch(core, command, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  let complaint = ''
  child.stderr.on('data', (text) => (complaint = (complaint + text).slice(-2000)))
  let alive = true
  void ended.then(() => (alive = false))
  const deadline = Date.now() + atMostMs
  while (!(await connects(port))) {
    if (alive && Date.now() < deadline) continue
    child.kill('SIGKILL')
    throw new Error(
      `${path.basename(command[0])} does not listen on port ${port}: ${complaint.trim().split('\n').at(-1) || (await ended)}`,
    )
  }
  return {
    pid: child.pid,
    isAlive: () => alive,
    stop: async (signal = 'SIGTERM', endMs = longestEndMs) => {
      child.kill(signal)
      const timer = setTimeout(() => child.kill('SIGKILL'), endMs)
      await ended
      clearTimeout(timer)
    },
  }
}

/** Runs a program to its end, or for `seconds` at most. @returns its exit code (or signal) and what it wrote. */
export async function runToEnd(core, command, seconds, env = {}) {
  const { child, ended } = launch(core, command, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  const written = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) child[name].on('data', (text) => (written[name] += text))
  const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000)
  const code = await ended
  clearTimeout(timer)
  return { code, ...written }
}

function connects(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.on('connect', () => resolve(true))
    socket.on('error', () => setTimeout(resolve, 10, false))
    socket.on('connect', () => socket.destroy())
  })
}

/** Sends a CONNECT, and waits for what comes back. */
export function connack(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.on('connect', () => socket.write(Buffer.from('\x10\x11\0\x04MQTT\x04\x02\0\x3c\0\x05ready', 'latin1')))
    socket.on('data', (bytes) => {
      if (bytes[0] !== 0x20 || bytes[3] !== 0) reject(new Error('CONNECT was refused'))
      resolve()
      socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('no CONNACK')))
  })
}

/** All are open at the same time before any is given back, so that no two are the same. */
export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer())
  await Promise.all(servers.map((server) => new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))))
  const ports = servers.map((server) => server.address().port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

export function temporaryFolder() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'godwit-bench-'))
  folders.add(folder)
  return folder
}

export function removeFolder(folder) {
  rmSync(folder, { recursive: true, force: true })
  folders.delete(folder)
}

/** Resident memory: all of it, what is the process's own, and what are pages of files; undefined where there is no /proc. */
export function memoryOf(pid) {
  const text = fileOf(pid, 'status')
  if (text === undefined) return undefined
  const bytes = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024
  return { residentBytes: bytes('VmRSS'), anonymousBytes: bytes('RssAnon'), fileBytes: bytes('RssFile') }
}

/** Bytes that a process has made the disk write so far, in whole pages. */
export function writtenBytes(pid) {
  return Number(/^write_bytes: (\d+)/m.exec(fileOf(pid, 'io') ?? '')?.[1])
}

/** Nanoseconds that the threads of a process have had of the processor so far; NaN where there is no /proc. */
export function processorNs(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
      return sum + Number(fileOf(pid, `task/${task}/schedstat`)?.split(' ')[0])
    }, 0)
  } catch {
    return NaN
  }
}

function fileOf(pid, name) {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return undefined
  }
}

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) removeFolder(folder)
})
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
])
  process.on(signal, () => process.exit(code))
