const slash = '/'
/** The character behind the slash: `a0` is the first name behind everything that starts with `a/`. */
const afterSlash = '0'
/** Likewise for `$`. */
const afterDollar = '%'

/** There is no match behind this name. */
export const end = Symbol('end')

/**
 * Finds the names that a filter matches among names in order, skipping those that it cannot:
 *
 *   a/+/c     a/1/b   → the next match may be a/1/c
 *             a/1/d/x → nothing else below a/1/, so a/10
 *             b/…     → end
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

  /**
   * Undefined when the filter matches `name`, `name` itself when the next name must be looked at, `end`, or else a name
   * behind it: whatever stands before that one does not match.
   */
  skip(name: string): string | typeof end | undefined {
    // A filter that starts with a wildcard does not match a topic that starts with "$" [MQTT-4.7.2-1].
    if (this.#wildFirst && name.startsWith('$')) return afterDollar
    const levels = this.#levels
    let start = 0
    for (let at = 0; at < levels.length; at++) {
      const level = levels[at]!
      if (level === '#') return undefined
      const next = name.indexOf(slash, start)
      const stop = next < 0 ? name.length : next
      if (level !== '+' && !(stop - start === level.length && name.startsWith(level, start)))
        return skipTo(name, start, level)
      if (next < 0) {
        const rest = levels.length - 1 - at
        // "a/#" matches "a" too. A name that ends too soon may have longer ones behind it.
        return rest === 0 || (rest === 1 && levels[at + 1] === '#') ? undefined : name
      }
      start = next + 1
    }
    return name.slice(0, start - 1) + afterSlash
  }
}

/** Where to go on when the level of `name` at `start` should have been `level`. */
function skipTo(name: string, start: number, level: string): string | typeof end {
  const exact = name.slice(0, start) + level
  if (exact > name) return exact
  // "b!" stands between "b" and "b/…".
  if (exact + slash > name) return exact + slash
  return start === 0 ? end : name.slice(0, start - 1) + afterSlash
}
