// Figures that are tests, run at the size that is asked for: a seed that fails is printed there, and replays.
import { runToEnd } from '../processes.mjs'

/**
 * A test file, with its size in the environment. `short` and `full`: how many.
 * @param told what it says of how long it took, on stderr
 */
function proof(row, name, file, unit, { variable, short, full, env = {}, told }) {
  return {
    row,
    name,
    async run(asked) {
      const size = asked.full ? full : short
      const given = { ...env, ...(variable !== undefined && { [variable]: String(size) }) }
      const words = Object.entries(given).map(([key, value]) => `${key}=${value}`)
      const command = ['npx', 'vitest', 'run', '--maxWorkers=1', ...file.split(' ')]
      const { code, stdout, stderr } = await runToEnd(1, command, asked.full ? 3600 : 60, given)
      if (code !== 0) process.stderr.write(stdout + stderr)
      const figure = code === 0 ? 0 : (/(\d+) failed/.exec(stdout)?.[1] ?? code)
      const of = size === undefined ? unit : `of ${size.toLocaleString('en')} ${unit}`
      const also = (told && told.exec(stderr + stdout)?.[0]) ?? ''
      return {
        figure,
        unit: ['broken', of, ...(also === '' ? [] : [also])].join(', '),
        limit: 0,
        ok: code === 0,
        command: [...words, ...command].join(' '),
      }
    },
  }
}

const kills = {
  row: 'kill',
  name: 'kill -9 under QoS 1 and 2 load: lost or twice',
  async run({ full }) {
    const cycles = full ? 1000 : 5
    const command = ['npm', 'run', '-s', 'prove', '--', '--cycles', String(cycles), '--seed', '5']
    const { code, stdout, stderr } = await runToEnd(1, command, full ? 3600 : 60)
    const most = Number(/ready after, ms.*max\s+(\d+)/.exec(stdout)?.[1] ?? NaN)
    if (code !== 0) process.stderr.write(stdout + stderr)
    const broken = code === 0 ? 0 : (/(\d+) promises were broken/.exec(stdout)?.[1] ?? 'not tried')
    const ok = code === 0 && most <= 2000
    return {
      figure: broken,
      unit: `in ${cycles} kills, ready in ${most} ms`,
      limit: '0, 2,000 ms',
      ok,
      command: command.join(' '),
    }
  },
}

export default [
  kills,
  proof('power', 'power loss: unsynced writes dropped, torn, reordered', 'test/sim/sim.test.ts', 'seeds', {
    variable: 'SIM_SEEDS',
    short: 150,
    full: 100_000,
  }),
  proof(
    'split',
    'every boundary of every corpus packet',
    'test/mqtt/differential.test.ts',
    'vectors, cuts and pairs',
    {},
  ),
  proof('mutated', 'mutated frames against a second reader', 'test/mqtt/mutations.test.ts', 'frames', {
    variable: 'FUZZ_FRAMES',
    short: 90_000,
    full: 10_000_000,
  }),
  proof('matrix', 'permissions against the oracle', 'test/access/matrix.test.ts', 'questions', {
    variable: 'MATRIX_CASES',
    short: 300_000,
    full: 10_000_000,
  }),
  proof('24', 'retained messages for one who subscribes to #', 'test/abuse/24-retained.test.ts', 'messages', {
    variable: 'ABUSE_RETAINED',
    short: 50_000,
    full: 500_000,
  }),
  proof(
    'clock',
    'SIGSTOP, a wall clock that jumps a day: who is sent away, what expires',
    'test/process/clock.test.ts',
    's',
    {
      variable: 'FREEZE_SECONDS',
      short: 3,
      full: 60,
    },
  ),
  proof('descriptors', 'no descriptors left', 'test/listeners/descriptors.test.ts', 'tests', {}),
  proof('fuzz', 'mutated sequences against whole brokers', 'test/fuzz/cores.test.ts', 'frames', {
    variable: 'FUZZ_FRAMES',
    short: 200_000,
    full: 10_000_000,
    told: /RSS .*/,
  }),
  proof('fuzz sockets', 'mutated sequences over TCP and WebSocket', 'test/fuzz/live.test.ts', 'frames', {
    variable: 'FUZZ_LIVE_FRAMES',
    short: 20_000,
    full: 500_000,
  }),
  proof('cluster', 'simulated clusters: partitions, crashes, loss', 'test/sim/cluster/cluster.test.ts', 'seeds', {
    variable: 'SIM_SEEDS',
    short: 100,
    full: 10_000,
  }),
  {
    // As root.
    ...proof('partition', 'partitions of three real nodes', 'test/net/partitions.test.ts', 'partitions', {
      variable: 'PARTITIONS',
      short: 2,
      full: 100,
      env: { NET: '1' },
      told: /healed after.*/,
    }),
    heavy: true,
  },
  ...[
    ['slow disk', 'a sync of 500 ms: PINGRESP waits for none', 'slow-disk', false],
    ['full disk', 'refused, and taken again when there is room', 'full-disk', false],
    ['damage', 'a torn tail, a flipped bit', 'damage', false],
    ['EIO', 'a failing write or sync: nothing is promised after it', 'failing-disk', true],
    ['room', 'what a full disk refuses, and what goes on', 'room', true],
    ['system call', 'SIGKILL at each write, sync and rename', 'kill', true],
  ].map(([row, name, file, heavy]) => ({
    ...proof(row, name, `test/faults/${file}.test.ts`, 'tests', { env: { PEERS: '1' } }),
    heavy,
  })),
]
