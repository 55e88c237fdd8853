// What is measured of a broker that keeps things: sessions that outlive their connections, backlogs, restarts. QoS 1.
import { backlog, paced, restarted, single } from './measure.disk.mjs'

const atLeast = (rate) => ({ text: `>= ${rate / 1000}k/s`, isMet: ({ godwit }) => godwit >= rate })
const under = (most, text) => ({ text: `< ${text}`, isMet: ({ godwit }) => godwit < most })

/** Mosquitto stands in this table without persistence; godwit has synced what it acknowledges. */
const rateAndTimesMosquitto = (rate, times) => ({
  text: `>= ${rate / 1000}k/s, > ${times}x mosquitto`,
  isMet: ({ godwit, mosquitto }) => godwit >= rate && (mosquitto === undefined || godwit > times * mosquitto),
})

const msgRow = (title, figure, target) => ({ title, unit: 'msg/s', figure, target })
const row = (title, unit, figure, target) => ({ title, unit, figure, less: true, target })

/** For a session that was left: loaded by ten publishers, with small payloads unless `sizeBytes` says otherwise. */
const intoOne = { mode: 'fanin', publishers: 10, subscribers: 1, qos: 1, window: 256, sessions: 'offline' }

function start(id, what, signal, needs) {
  return {
    id,
    load: { ...intoOne, count: 5_000_000, check: { messages: 10_000, sessions: 1 } },
    quick: { count: 50_000 },
    measure: restarted(signal),
    needs: ['backlog', 'restart', ...needs],
    rounds: 1,
    rows: [
      row(`5,000,000 messages queued, ready after ${what}`, 'ms', 'readyMs', under(2000, '2 s')),
      row('memory then', 'B', 'residentBytes'),
    ],
  }
}

export const diskScenarios = [
  {
    id: 'durable-10-10',
    load: { mode: 'pairs', publishers: 10, subscribers: 10, qos: 1, window: 256, sessions: 'persistent' },
    needs: [],
    rows: [msgRow('acknowledged, 10 -> 10 online', 'inPerSecond', rateAndTimesMosquitto(400_000, 4))],
  },
  {
    id: 'durable-offline-1',
    load: intoOne,
    needs: [],
    rows: [msgRow('acknowledged, 10 -> 1 offline', 'inPerSecond', atLeast(300_000))],
  },
  {
    id: 'durable-offline-1000',
    // The first messages tell how many to send: a thousand copies of each are kept.
    load: { ...intoOne, mode: 'fanout', publishers: 1, subscribers: 1000, probe: 200 },
    needs: [],
    rows: [msgRow('queued, 1 -> 1000 offline', 'queuedPerSecond', atLeast(500_000))],
  },
  {
    id: 'durable-10000',
    load: { mode: 'fanout', publishers: 1, subscribers: 10_000, qos: 1, rate: 20, messages: 50 },
    quick: { subscribers: 1000, messages: 10 },
    measure: single,
    needs: [],
    rows: [
      row('PUBACK p50, one message to 10,000 offline', 'us', 'ackP50Us'),
      row('the same, less the disk where it waits for it', 'us', 'brokerUs', under(2000, '2 ms')),
      row('written for it', 'B', 'writtenBytesEach', under(65_536, '64 KiB')),
      row('the disk: 16 KiB and fdatasync, p50', 'us', 'diskP50Us'),
    ],
  },
  {
    id: 'durable-latency',
    load: { mode: 'pairs', publishers: 100, subscribers: 100, qos: 1, rate: 20_000, sessions: 'persistent' },
    measure: paced,
    needs: [],
    rows: [
      row('PUBACK p50, 20,000/s', 'us', 'ackP50Us', under(2000, '2 ms')),
      row('PUBACK p99', 'us', 'ackP99Us', under(10_000, '10 ms')),
      row('delivery p50', 'us', 'p50Us'),
      row('the disk: 64 KiB and fdatasync, p50', 'us', 'diskP50Us'),
      row('the disk, p99', 'us', 'diskP99Us'),
    ],
  },
  {
    id: 'backlog-1m',
    load: { ...intoOne, sizeBytes: 1024, count: 1_000_000 },
    quick: { count: 20_000 },
    measure: backlog,
    needs: ['backlog'],
    rounds: 1,
    rows: [
      row('1,000,000 x 1 KiB queued and drained, memory (RssAnon)', 'B', 'grownBytes', under(100e6, '100 MB')),
      row('pages of files in memory (RssFile)', 'B', 'grownFileBytes'),
      msgRow('acknowledged', 'loadedPerSecond'),
      msgRow('drained by one client', 'drainedPerSecond', atLeast(150_000)),
    ],
  },
  start('start-5m', 'SIGTERM', 'SIGTERM', []),
  start('start-5m-killed', 'kill -9', 'SIGKILL', ['kill']),
  {
    id: 'start-100k',
    load: {
      ...{ mode: 'pairs', publishers: 1000, subscribers: 100_000, qos: 1, window: 10, sessions: 'offline' },
      ...{ count: 10_000, check: { messages: 1000, sessions: 100 } },
    },
    quick: { publishers: 20, subscribers: 2000, count: 200 },
    measure: restarted('SIGTERM'),
    needs: ['backlog', 'restart'],
    rounds: 1,
    rows: [
      row('100,000 sessions x 10 messages, ready after SIGTERM', 'ms', 'readyMs', under(2000, '2 s')),
      row('memory then', 'B', 'residentBytes', under(300e6, '300 MB')),
      row("of it the process's own (RssAnon)", 'B', 'anonymousBytes'),
    ],
  },
]
