import { defineConfig } from 'vitest/config'

// test/peers needs programs from outside npm; `npm run test:all` installs them and runs it with PEERS=1.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: process.env.PEERS === '1' ? [] : ['test/peers/**'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    pool: 'forks',
  },
})
