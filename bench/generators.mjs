// Who makes the load: `godwit bench`, or the C program mqload as a second opinion. Both run a `load`, one of
//   { mode, publishers, subscribers, qos, window, count, warmup }     as fast as it goes
//   { mode, publishers, subscribers, qos, rate, seconds, warmupSeconds }
//   { connections, hold }                                             idle ones
//   { drain, subscribers }                                            takes so many messages out of sessions made before
// and, with `prefix` (of client ids and topics), `sizeBytes` and `sessions` ('persistent', or 'offline': gone before
// anything is published), any mixture that makes sense. They give { lost, what went wrong, figures }.
import { runToEnd } from './processes.mjs'

const payloadBytes = 64

export function godwitGenerator(main) {
  return {
    name: 'godwit bench',
    run: async (core, port, load, timeoutSeconds) => {
      const common = ['--json', '-p', port, '--timeout', timeoutSeconds, '--prefix', load.prefix ?? 'bench']
      const [verb, ...args] = verbOf(load)
      const command = [process.execPath, main, 'bench', verb, ...common, ...args].map(String)
      const atMost = timeoutSeconds + (load.seconds ?? 0) + (load.warmupSeconds ?? 0) + (load.hold ?? 0) + 5
      const { code, stdout, stderr } = await runToEnd(core, command, atMost)
      const line = parse(stdout)
      const fault = code === 0 ? undefined : code === 27 ? 'time was up' : complaint(stderr) || `exit ${code}`
      return { fault, timeout: code === 27, lost: code === 27 ? 0 : (line.lost ?? 0), figures: line }
    },
  }
}

function verbOf(load) {
  const { mode, publishers, subscribers, qos, window, count, warmup = 0, rate, seconds, warmupSeconds } = load
  if (load.connections) return ['conn', '-n', load.connections, '--hold', load.hold]
  if (load.drain) return ['sub', '--persistent', '-q', 1, '-S', subscribers, '-C', load.drain]
  const [verb, ...pace] = rate
    ? ['latency', '--rate', rate, '--seconds', seconds, '--warmup-seconds', warmupSeconds]
    : ['pub', '-C', count, '--warmup', warmup, '--window', window]
  const sessions = load.sessions ? [`--${load.sessions}`] : []
  const clients = ['--mode', mode, '-n', publishers, '-S', subscribers, ...sessions]
  return [verb, ...clients, '-q', qos, '--size', load.sizeBytes ?? payloadBytes, ...pace]
}

const mqloadModes = { pairs: 'p2p', fanin: 'fanin', fanout: 'fanout', shared: 'shared' }
const mqloadSessions = { persistent: ['-c', 0], offline: ['-O'] }

/** @param program the compiled mqload.c */
export function mqloadGenerator(program) {
  const once = async (core, port, args, atMostSeconds) => {
    const command = [program, '-j', '-p', port, ...args].map(String)
    const { code, stdout, stderr } = await runToEnd(core, command, atMostSeconds)
    const timeout = code === 'SIGKILL'
    const line = parse(stdout)
    const lost = Math.max(0, (line.want ?? 0) - (line.got ?? 0))
    const fault = code === 0 ? undefined : timeout ? 'time was up' : complaint(stderr) || `${lost} messages were lost`
    const figures = {
      sent: line.sent,
      received: line.got,
      inPerSecond: line.in_per_s,
      outPerSecond: line.out_per_s,
      seconds: line.secs ?? line.connect_s,
      p50Us: line.p50_us,
      p99Us: line.p99_us,
      connected: line.connected,
      dropped: line.dropped,
    }
    return { fault, timeout, lost, figures }
  }
  return {
    name: 'mqload',
    run: async (core, port, load, timeoutSeconds) => {
      if (load.connections) {
        return once(core, port, ['-i', load.connections, '-K', load.hold], timeoutSeconds + load.hold)
      }
      const { mode, publishers, subscribers, qos, window, rate, sessions, prefix = 'bench' } = load
      if (load.drain) return once(core, port, ['-D', '-x', prefix, '-S', subscribers, '-n', load.drain], timeoutSeconds)
      const args = ['-m', mqloadModes[mode], '-P', publishers, '-S', subscribers, '-q', qos, '-x', prefix]
      args.push('-s', load.sizeBytes ?? payloadBytes, ...(mqloadSessions[sessions] ?? []))
      if (rate) {
        if (load.warmupSeconds > 0)
          await once(core, port, [...args, '-r', rate, '-d', load.warmupSeconds], timeoutSeconds)
        return once(core, port, [...args, '-r', rate, '-d', load.seconds], timeoutSeconds + load.seconds)
      }
      args.push('-w', window)
      if (load.warmup > 0) await once(core, port, [...args, '-n', load.warmup], timeoutSeconds)
      const result = await once(core, port, [...args, '-n', load.count], timeoutSeconds)
      const copies = mode === 'fanout' || mode === 'fanin' ? subscribers : 1
      if (sessions === 'offline') result.figures.queuedPerSecond = result.figures.inPerSecond * copies
      return result
    },
  }
}

function parse(stdout) {
  try {
    return JSON.parse(stdout)
  } catch {
    return {}
  }
}

/** What a program complains of: its own words, or else whatever it wrote last. */
function complaint(text) {
  const lines = text.trim().split('\n')
  return lines.find((line) => line.startsWith('godwit bench: ') || /^\w*Error: /.test(line)) ?? lines.at(-1)
}
