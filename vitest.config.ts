import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

// test/peers and test/faults need programs from outside npm; `npm run test:all` installs them and runs both with PEERS=1.
// test/net makes network namespaces, for which it must be root: `npm run test:net`.
const leftOut = [
  ...(process.env.PEERS === '1' ? [] : ['test/peers/**', 'test/faults/**']),
  ...(process.env.NET === '1' ? [] : ['test/net/**']),
]
/** Files that take more than half a minute, and are short: vitest begins with large ones, and would leave a core idle at the end. */
const longest = [
  'test/sim/cluster/cluster.test.ts',
  'test/fuzz/cores.test.ts',
  'test/sim/cluster/mutants.test.ts',
  'test/cluster/gossip-scale.test.ts',
  'test/process/cluster-load.test.ts',
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification): boolean => longest.some((file) => moduleId.endsWith(file))
    const sorted = await super.sort(files)
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))]
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: leftOut,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    pool: 'forks',
    // One for each core: files wait for sockets and disks as much as for the processor. Vitest would leave a core idle.
    maxWorkers: availableParallelism(),
    sequence: { sequencer: LongestFirst },
  },
})
