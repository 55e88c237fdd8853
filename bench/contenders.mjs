// Who takes part: how each is started, and what it cannot do.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { isOnPath } from './processes.mjs'

const lane = fileURLToPath(new URL('./contenders/lane.mjs', import.meta.url))
const aedes = fileURLToPath(new URL('./contenders/aedes.mjs', import.meta.url))

/**
 * @param main godwit's dist/main.js
 * @returns name → { command(port, folder, anotherPort), lacks: features that scenarios may need, missing: why it cannot run }
 */
export function contenders(main) {
  return new Map([
    [
      'godwit',
      {
        // With its default settings.
        command: (port) => [
          process.execPath,
          main,
          'start',
          '--listen',
          `tcp://127.0.0.1:${port}`,
          '--log-level',
          'warn',
        ],
        lacks: [],
      },
    ],
    ['lane', { command: (port) => [process.execPath, lane, `${port}`], lacks: ['qos2', 'shared'] }],
    ['mosquitto', { command: mosquitto, lacks: [], ...needs('mosquitto') }],
    // Version 2.9 has neither; later ones do QoS 2.
    ['nats', { command: nats, lacks: ['qos2', 'shared'], ...needs('nats-server') }],
    ['aedes', { command: (port) => [process.execPath, aedes, `${port}`], lacks: ['shared'] }],
  ])
}

function needs(program) {
  return isOnPath(program) ? {} : { missing: `${program} is not on PATH` }
}

// Without limits on what is in flight or queued: it is compared for its speed, not for what it drops.
function mosquitto(port, folder) {
  const file = path.join(folder, 'mosquitto.conf')
  const lines = [
    `listener ${port} 127.0.0.1`,
    'allow_anonymous true',
    'max_inflight_messages 0',
    'max_queued_messages 0',
    'persistence false',
    'log_type none',
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  return ['mosquitto', '-c', file]
}

// Its MQTT side keeps sessions in JetStream, and so asks for a name and a folder.
function nats(port, folder, anotherPort) {
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
