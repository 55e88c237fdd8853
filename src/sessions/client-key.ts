// A client id is what a client calls itself. A session has it as its own, or behind a scope that no client can write:
//
//   sensor-1              the client's word for it
//   \u0001scope\u0001sensor-1

/** The id of a session that clients outside the scope cannot name. */
export function scopedId(scope: string, clientId: string): string {
  return `\u0001${scope}\u0001${clientId}`
}

/** What the client calls itself. */
export function ownId(key: string): string {
  return key.startsWith('\u0001') ? key.slice(key.indexOf('\u0001', 1) + 1) : key
}
