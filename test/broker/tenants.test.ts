import { expect, test } from 'vitest'
import { play } from './tenants-world.ts'

const worlds = Number(process.env['TENANT_WORLDS'] ?? 30)

test(
  `what a client of a tenant gets is what it would get on a broker of its own: ${worlds} worlds`,
  { timeout: 300_000 },
  async () => {
    expect(await play(Number(process.env['SEED'] ?? 1), worlds)).toBeGreaterThan(worlds * 100)
  },
)
