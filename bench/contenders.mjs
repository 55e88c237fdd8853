// Who takes part: how each is started, and what it cannot do.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { isOnPath } from './processes.mjs'

const lane = fileURLToPath(new URL('./contenders/lane.mjs', import.meta.url))
const aedes = fileURLToPath(new URL('./contenders/aedes.mjs', import.meta.url))

const both = ['memory', 'disk']

/**
 * @param main godwit's dist/main.js
 * @param others names of more godwits, each `godwit@` and the path of its main.js
 * @returns name → { command({ port, anotherPort, folder, group }), groups: of scenarios that it takes part in,
 *   lacks: features that scenarios may need, syncs: its acknowledgement waits for the disk, missing: why it cannot run }
 */
export function contenders(main, others = []) {
  return new Map([
    ['godwit', godwit(main)],
    ...others.map((name) => [name, godwit(path.resolve(name.slice('godwit@'.length)))]),
    ['lane', { command: ({ port }) => node(lane, port), groups: ['memory'], lacks: ['qos2', 'shared'] }],
    // In memory also in the disk's scenarios: the figure to beat with every message synced.
    ['mosquitto', { command: mosquitto(false), groups: both, lacks: ['restart', 'kill'], ...needs('mosquitto') }],
    // Saves every half hour and when it ends, so that a kill leaves what was before.
    ['mosquitto-disk', { command: mosquitto(true), groups: ['disk'], lacks: ['kill'], ...needs('mosquitto') }],
    // Version 2.9 has neither of the first two; later ones do QoS 2. A backlog of millions takes it longer than anyone waits.
    ['nats', { command: nats, groups: both, lacks: ['qos2', 'shared', 'backlog'], ...needs('nats-server') }],
    ['aedes', { command: ({ port }) => node(aedes, port), groups: ['memory'], lacks: ['shared'] }],
    [
      'aedes-level',
      {
        command: ({ port, folder }) => node(aedes, port, path.join(folder, 'level')),
        groups: ['disk'],
        lacks: ['shared', 'backlog'],
      },
    ],
  ])
}

function needs(program) {
  return isOnPath(program) ? {} : { missing: `${program} is not on PATH` }
}

function node(...args) {
  return [process.execPath, ...args.map(String)]
}

// With its default settings; what is kept on disk is compared without limits on queues, as it is for the others.
const unlimited = '{ queueMessages: 1000000000, queueBytes: 1099511627776, queueBytesTotal: 1099511627776 }'

function godwit(main) {
  const command = ({ port, folder, group }) => {
    const start = node(main, 'start', '--listen', `tcp://127.0.0.1:${port}`, '--log-level', 'warn')
    start.push('--data', path.join(folder, 'data'))
    if (group !== 'disk') return start
    const file = path.join(folder, 'godwit.yaml')
    writeFileSync(file, `limits: ${unlimited}\n`)
    return [...start, '--config', file]
  }
  return { command, groups: both, lacks: [], syncs: true }
}

// Without limits on what is in flight or queued: it is compared for its speed, not for what it drops.
function mosquitto(persistent) {
  return ({ port, folder }) => {
    const file = path.join(folder, 'mosquitto.conf')
    const lines = [
      `listener ${port} 127.0.0.1`,
      'allow_anonymous true',
      'max_inflight_messages 0',
      'max_queued_messages 0',
      `persistence ${persistent}`,
      'log_type none',
    ]
    if (persistent) lines.push(`persistence_location ${folder}/`)
    // As root it would become another user, who may not write there.
    if (persistent && process.getuid?.() === 0) lines.push('user root')
    writeFileSync(file, `${lines.join('\n')}\n`)
    return ['mosquitto', '-c', file]
  }
}

// Its MQTT side keeps sessions in JetStream, and so asks for a name and a folder.
function nats({ port, anotherPort, folder }) {
  const file = path.join(folder, 'nats.conf')
  const lines = [
    'server_name: bench',
    `listen: "127.0.0.1:${anotherPort}"`,
    `jetstream { store_dir: "${path.join(folder, 'jetstream')}" }`,
    `mqtt { listen: "127.0.0.1:${port}" }`,
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  return ['nats-server', '-c', file]
}
