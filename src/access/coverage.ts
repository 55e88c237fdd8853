// What topic filters match, cover and share (MQTT 5.0, 4.7), on levels instead of text: for decisions that are made once
// and remembered. All of it takes checked names and filters, without `$share/group/`.

/** A topic name or filter, cut at its slashes. */
export type Levels = readonly string[]

export function levelsOf(text: string): Levels {
  return text.split('/')
}

/** Does `filter` match the topic name? */
export function matches(filter: Levels, topic: Levels): boolean {
  if (isWild(filter[0]!) && isReserved(topic)) return false
  const fixed = fixedLevels(filter)
  // "a/#" matches "a" too, so an open filter needs no more than its fixed levels.
  if (fixed < filter.length ? topic.length < fixed : topic.length !== fixed) return false
  for (let at = 0; at < fixed; at++) if (filter[at] !== '+' && filter[at] !== topic[at]) return false
  return true
}

/** Does `wide` match every topic that `narrow` matches? */
export function covers(wide: Levels, narrow: Levels): boolean {
  if (isWild(wide[0]!) && isReserved(narrow)) return false
  const fixed = fixedLevels(wide)
  const narrowFixed = fixedLevels(narrow)
  const wideOpen = fixed < wide.length
  if (wideOpen ? shortest(narrow) < fixed : narrowFixed < narrow.length || narrowFixed !== fixed) return false
  for (let at = 0; at < fixed; at++) {
    // Behind its fixed levels an open filter matches anything, which only "+" covers.
    const asked = at < narrowFixed ? narrow[at] : '+'
    if (wide[at] !== '+' && wide[at] !== asked) return false
  }
  return true
}

/** Is there a topic that both match? */
export function overlaps(one: Levels, other: Levels): boolean {
  if (isWild(one[0]!) ? isReserved(other) : isWild(other[0]!) && isReserved(one)) return false
  const [a, b] = [fixedLevels(one), fixedLevels(other)]
  const [openA, openB] = [a < one.length, b < other.length]
  if (!openA && b > a) return false
  if (!openB && a > b) return false
  // The only topic of a closed length must be long enough for the other; `shortest` knows that "" is none.
  if (!openA && shortest(other) > a) return false
  if (!openB && shortest(one) > b) return false
  for (let at = 0; at < Math.min(a, b); at++)
    if (one[at] !== '+' && other[at] !== '+' && one[at] !== other[at]) return false
  return true
}

/** A filter that starts with a wildcard matches no topic that starts with "$" [MQTT-4.7.2-1]. */
function isWild(level: string): boolean {
  return level === '+' || level === '#'
}

function isReserved(levels: Levels): boolean {
  return levels[0]!.startsWith('$')
}

/** Levels in front of "#". */
function fixedLevels(filter: Levels): number {
  return filter[filter.length - 1] === '#' ? filter.length - 1 : filter.length
}

/** Levels of the shortest topic that a filter matches: one at least, and "" is no topic [MQTT-4.7.3-1]. */
function shortest(filter: Levels): number {
  const fixed = fixedLevels(filter)
  return fixed === 1 && filter[0] === '' ? 2 : Math.max(1, fixed)
}
