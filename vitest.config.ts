import { defineConfig } from 'vitest/config'

// test/peers and test/faults need programs from outside npm; `npm run test:all` installs them and runs both with PEERS=1.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: process.env.PEERS === '1' ? [] : ['test/peers/**', 'test/faults/**'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    pool: 'forks',
  },
})
