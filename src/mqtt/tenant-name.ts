// A tenant's topics stand below a root that no client sees: neither those of the tenant, who write and get what is behind
// it, nor anybody else, as "#" and "+" do not match what begins with "$" [MQTT-4.7.2-1].
//
//   $tenant/north/plant/1/temperature
//   └── hidden ──┘└──── written ────┘

export const tenantLevel = '$tenant'

/** Words that may be a level of a topic, and are safe to read in a log. */
const name = /^[A-Za-z0-9._-]{1,64}$/
export const tenantNameRule = '1 to 64 letters, digits, ".", "_" and "-"'

export function isTenantName(value: unknown): value is string {
  return typeof value === 'string' && name.test(value)
}

/** How much of the start of a topic, or of a filter without its group, no client sees: characters, and bytes too. */
export function hiddenOf(topic: string): number {
  const start = tenantLevel.length + 1
  if (!topic.startsWith(`${tenantLevel}/`)) return 0
  const end = topic.indexOf('/', start)
  return end > 0 && isTenantName(topic.slice(start, end)) ? end + 1 : 0
}

/** Is it about topics of tenants, whichever they are? `filter` may be a topic, and has no group. */
export function isOfTenants(filter: string): boolean {
  return filter === tenantLevel || filter.startsWith(`${tenantLevel}/`)
}
