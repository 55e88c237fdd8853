const slash = '/'
/** The character behind the slash: `a0` is the first name behind everything that starts with `a/`. */
const afterSlash = '0'
/** Likewise for `$`. */
const afterDollar = '%'

/**
 * Finds the names that a filter matches among names in order, and leaps over those that it cannot:
 *
 *   a/+/c     a/1/b   → the next match may be a/1/c
 *             a/1/d/x → nothing else below a/1/, so a/10
 *             b/…     → nothing else at all
 */
export class Scan {
  readonly #levels: readonly string[]
  readonly #wildFirst: boolean
  /** No name below this one matches. */
  readonly start: string

  constructor(filter: string) {
    this.#levels = filter.split(slash)
    this.#wildFirst = this.#levels[0] === '+' || this.#levels[0] === '#'
    const wildcard = this.#levels.findIndex((level) => level === '+' || level === '#')
    this.start = this.#levels.slice(0, wildcard < 0 ? undefined : wildcard).join(slash)
  }

  matches(name: string): boolean {
    // A filter that starts with a wildcard does not match a topic that starts with "$" [MQTT-4.7.2-1].
    if (this.#wildFirst && name.startsWith('$')) return false
    const last = this.#levels.length - 1
    let start = 0
    for (let at = 0; at <= last; at++) {
      const level = this.#levels[at]!
      if (level === '#') return true
      const stop = levelEnd(name, start)
      if (level !== '+' && !isLevel(level, name, start, stop)) return false
      // "a/#" matches "a" too.
      if (stop === name.length) return at === last || (at === last - 1 && this.#levels[last] === '#')
      start = stop + 1
    }
    return false
  }

  /** For a name that does not match: no name before this one does. Undefined: no name behind it does. */
  leap(name: string): string | undefined {
    if (this.#wildFirst && name.startsWith('$')) return afterDollar
    let start = 0
    for (const level of this.#levels) {
      const stop = levelEnd(name, start)
      if (level !== '+' && !isLevel(level, name, start, stop)) {
        const exact = name.slice(0, start) + level
        if (exact > name) return exact
        // "b!" stands between "b" and "b/…".
        if (exact + slash > name) return exact + slash
        return start === 0 ? undefined : name.slice(0, start - 1) + afterSlash
      }
      // It ends too soon; longer ones may come behind it.
      if (stop === name.length) return name
      start = stop + 1
    }
    return name.slice(0, start - 1) + afterSlash
  }
}

function levelEnd(name: string, start: number): number {
  const stop = name.indexOf(slash, start)
  return stop < 0 ? name.length : stop
}

function isLevel(level: string, name: string, start: number, stop: number): boolean {
  return stop - start === level.length && name.startsWith(level, start)
}
