import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

// test/peers and test/faults need programs from outside npm; `npm run test:all` installs them and runs both with PEERS=1.
// test/net makes network namespaces, for which it must be root: `npm run test:net`.
const leftOut = [
  ...(process.env.PEERS === '1' ? [] : ['test/peers/**', 'test/faults/**']),
  ...(process.env.NET === '1' ? [] : ['test/net/**']),
]
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: leftOut,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    pool: 'forks',
    // One for each core: files wait for sockets and disks as much as for the processor. Vitest would leave a core idle.
    maxWorkers: availableParallelism(),
  },
})
