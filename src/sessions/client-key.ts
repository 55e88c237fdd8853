// A client id is what a client calls itself. A session has it as its own, or behind a scope that no client can write:
//
//   sensor-1                        the client's word for it
//   \u0001u/ann\u0001sensor-1         of the user ann, where users have client ids of their own
//   \u0001t/north\u0001sensor-1       of the tenant north
//   \u0001t/north/u/ann\u0001sensor-1 of both

const mark = '\u0001'
const ofTenant = `${mark}t/`

/**
 * The id of a session that clients of no other tenant, and of no other user, can name.
 * @param tenant a checked name: it has no slash
 */
export function sessionKey(tenant: string | undefined, user: string | undefined, clientId: string): string {
  const scope = [...(tenant === undefined ? [] : ['t', tenant]), ...(user === undefined ? [] : ['u', user])]
  return scope.length === 0 ? clientId : `${mark}${scope.join('/')}${mark}${clientId}`
}

/** The tenant that a session belongs to. */
export function tenantOf(key: string): string | undefined {
  return key.startsWith(ofTenant) ? /^[^/\u0001]*/.exec(key.slice(ofTenant.length))![0] : undefined
}

/** What the client calls itself. */
export function ownId(key: string): string {
  return key.startsWith(mark) ? key.slice(key.indexOf(mark, 1) + 1) : key
}
