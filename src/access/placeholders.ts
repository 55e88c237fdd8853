// Topics of rules: filters in which a level may be %c, the client's id, or %u, its user name.

/** A topic name or filter, cut at its slashes. */
export type Levels = readonly string[]

export function levelsOf(text: string): Levels {
  return text.split('/')
}

/** Who asks, as rules see it. */
export interface Subject {
  /** Undefined or empty: anonymous. */
  readonly user: string | undefined
  readonly groups: readonly string[]
  readonly clientId: string
}

/** Topics of a statement: a filter that may have holes. */
export interface Pattern {
  readonly text: string
  readonly levels: Levels
  /** Levels that have %c or %u in them. */
  readonly holes: readonly number[]
}

export function patternOf(text: string): Pattern {
  const levels = levelsOf(text)
  return { text, levels, holes: levels.flatMap((level, at) => (isHole(level) ? [at] : [])) }
}

export function isHole(level: string): boolean {
  return hole.test(level)
}

const hole = /%[cu]/
const holesOf = /%[cu]/g

/** Can all holes of a pattern be filled for this client? */
export function isUsable({ levels, holes }: Pattern, subject: Subject): boolean {
  return holes.every((at) => filledLevel(levels[at]!, at, subject) !== undefined)
}

/**
 * The level of a pattern for one client. Undefined when what goes in could change what the filter means: it is empty, has
 * a wildcard, a slash or a control character, or opens the topics that begin with "$" to a filter that does not.
 */
export function filledLevel(level: string, at: number, { clientId, user = '' }: Subject): string | undefined {
  if (level.includes('%c') && !isPlain(clientId)) return undefined
  if (level.includes('%u') && !isPlain(user)) return undefined
  const filled = level === '%c' ? clientId : level === '%u' ? user : replaced(level, clientId, user)
  return at === 0 && filled.startsWith('$') && !level.startsWith('$') ? undefined : filled
}

/** In one go: what goes in is not looked at again. */
function replaced(level: string, clientId: string, user: string): string {
  return level.replace(holesOf, (which) => (which === '%c' ? clientId : user))
}

function isPlain(value: string): boolean {
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at)
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x23 || code === 0x2b || code === 0x2f) return false
  }
  return value !== ''
}
