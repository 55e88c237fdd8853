// What is measured, and what godwit should reach. Payloads have 64 bytes where nothing else is said.
import { diskScenarios } from './scenarios.disk.mjs'

/** At least a share of what the bare lane does in the same run. */
const ofLane = (share) => ({
  text: `>= ${share.toFixed(2)} of lane`,
  isMet: ({ godwit, lane }) => (lane === undefined ? undefined : godwit >= share * lane),
})

/** A rate, or a multiple of Mosquitto's, whichever is less: a slow machine is not godwit's fault. */
const rateOrTimesMosquitto = (rate, times) => ({
  text: `>= ${rate / 1000}k/s or ${times}x mosquitto`,
  isMet: ({ godwit, mosquitto }) => godwit >= Math.min(rate, mosquitto === undefined ? rate : times * mosquitto),
})

const lowLatency = {
  text: '<= 1.5x lane, < mosquitto',
  isMet: ({ godwit, lane, mosquitto }) =>
    lane === undefined ? undefined : godwit <= 1.5 * lane && (mosquitto === undefined || godwit < mosquitto),
}

const small = { text: '<= 8 kB', isMet: ({ godwit }) => godwit <= 8192 }

/** A scenario whose figure is the rate at which subscribers get messages. `needs`: what a broker must be able to do. */
function rate(id, title, [mode, publishers, subscribers, qos, window], target, needs = []) {
  const load = { mode, publishers, subscribers, qos, window }
  return { id, load, needs, rows: [{ title, unit: 'msg/s', figure: 'outPerSecond', target }] }
}

const memoryScenarios = [
  rate('qos0-1-1', 'QoS 0, 1 -> 1', ['pairs', 1, 1, 0, 5000], ofLane(0.6)),
  rate('qos0-10-10', 'QoS 0, 10 -> 10', ['pairs', 10, 10, 0, 1000], ofLane(0.6)),
  rate('qos1-10-10', 'QoS 1, 10 -> 10', ['pairs', 10, 10, 1, 256], ofLane(0.5)),
  rate('fanout', 'QoS 0, fan-out 1 -> 100', ['fanout', 1, 100, 0, 1000], ofLane(0.6)),
  // A run of frames that follow each other is sent on in one piece; this is the same with hardly any to follow.
  rate('fanout-10', 'QoS 0, fan-out 1 -> 100, window 10', ['fanout', 1, 100, 0, 10], ofLane(0.6)),
  rate('fanin', 'QoS 0, fan-in 1000 -> 1', ['fanin', 1000, 1, 0, 100], ofLane(0.5)),
  rate('qos2-10-10', 'QoS 2, 10 -> 10', ['pairs', 10, 10, 2, 100], rateOrTimesMosquitto(400_000, 8), ['qos2']),
  rate('shared', 'QoS 1, shared 50 -> 5', ['shared', 50, 5, 1, 20], rateOrTimesMosquitto(400_000, 4), ['shared']),
  {
    id: 'latency',
    load: { mode: 'pairs', publishers: 100, subscribers: 100, qos: 1, rate: 20_000 },
    needs: [],
    rows: [
      { title: 'latency p50, QoS 1, 20,000/s', unit: 'us', figure: 'p50Us', less: true, target: lowLatency },
      { title: 'latency p99', unit: 'us', figure: 'p99Us', less: true, target: lowLatency },
    ],
  },
  {
    id: 'idle',
    load: { connections: 18_000, hold: 2 },
    quick: { connections: 2000 },
    needs: [],
    rounds: 1, // memory does not drift as speed does
    rows: [{ title: 'idle connection, memory', unit: 'B', figure: 'bytesEach', less: true, target: small }],
  },
]

/** `quick`: what of a load is smaller with --quick. `group`: 'memory' keeps nothing, 'disk' does. */
export const scenarios = [
  ...memoryScenarios.map((scenario) => ({ ...scenario, group: 'memory' })),
  ...diskScenarios.map((scenario) => ({ ...scenario, group: 'disk' })),
]
