import { filledLevel, type Levels, levelsOf, type Pattern, type Subject } from './placeholders.ts'

/** A topic or filter that rules are asked about (MQTT 5.0, 4.7); a topic is a filter that matches nothing else. */
export class Asked {
  readonly levels: Levels
  /** Levels in front of "#". */
  readonly fixed: number
  /** Does it end with "#"? */
  readonly open: boolean
  /** Levels of the shortest topic that it matches: one at least, and "" is no topic [MQTT-4.7.3-1]. */
  readonly least: number
  readonly reserved: boolean
  /** A filter that starts with a wildcard matches no topic that starts with "$" [MQTT-4.7.2-1]. */
  readonly wild: boolean

  /** @param text checked, and without `$share/group/` */
  constructor(text: string) {
    const levels = levelsOf(text)
    const first = levels[0]!
    this.levels = levels
    this.open = levels[levels.length - 1] === '#'
    this.fixed = this.open ? levels.length - 1 : levels.length
    this.least = this.fixed === 1 && first === '' ? 2 : Math.max(1, this.fixed)
    this.reserved = first.startsWith('$')
    this.wild = first === '+' || first === '#'
  }
}

/** A level of the patterns, and those that end behind it. Tokens bring rules of their own, so that there are many: nothing is made before it is needed. */
class Branch<T> {
  ends: T[] | undefined = undefined
  /** Those that end with "#". */
  opens: T[] | undefined = undefined
  any: Branch<T> | undefined = undefined
  /** One word and what is below it, for mostly there is no other. */
  #word: string | undefined = undefined
  #below: Branch<T> | undefined = undefined
  #others: Map<string, Branch<T>> | undefined = undefined
  /** Below levels with %c or %u in them. */
  holes: { readonly level: string; readonly below: Branch<T> }[] | undefined = undefined

  below(word: string): Branch<T> | undefined {
    return word === this.#word ? this.#below : this.#others?.get(word)
  }

  /** The same, and made if it is not there. */
  grown(word: string): Branch<T> {
    const known = this.below(word)
    if (known) return known
    const below = new Branch<T>()
    if (this.#word === undefined) [this.#word, this.#below] = [word, below]
    else (this.#others ??= new Map<string, Branch<T>>()).set(word, below)
    return below
  }

  pierced(level: string): Branch<T> {
    const known = this.holes?.find((hole) => hole.level === level)
    if (known) return known.below
    const below = new Branch<T>()
    this.holes = joined(this.holes, { level, below })
    return below
  }

  eachWord(look: (word: string, below: Branch<T>) => void): void {
    if (this.#word !== undefined) look(this.#word, this.#below!)
    this.#others?.forEach((below, word) => look(word, below))
  }
}

/**
 * What is said of topics, by their levels: whoever asks meets only what begins as its topic does, and none twice.
 *
 *   root ─ "a" ─ "+" ─ "s" {deny}             a/+/s, dev/%c/#
 *        └ "dev" ─ %c ─ # {allow}
 */
export class RuleTree<T> {
  readonly #root = new Branch<T>()

  add({ levels, holes }: Pattern, said: T): void {
    let branch = this.#root
    for (const [at, level] of levels.entries()) {
      if (level === '#') return void (branch.opens = joined(branch.opens, said))
      if (level === '+') branch = branch.any ??= new Branch<T>()
      else branch = holes.includes(at) ? branch.pierced(level) : branch.grown(level)
    }
    branch.ends = joined(branch.ends, said)
  }

  /** Adds to `found` what is said of all topics that the filter matches. */
  covering(asked: Asked, subject: Subject, found: T[]): void {
    this.#cover(this.#root, 0, asked, subject, found)
  }

  /** Adds to `found` what is said of any topic that the filter matches. */
  overlapping(asked: Asked, subject: Subject, found: T[]): void {
    this.#overlap(this.#root, 0, asked, subject, found)
  }

  #cover(branch: Branch<T>, at: number, asked: Asked, subject: Subject, found: T[]): void {
    const { levels, fixed, open, least, reserved } = asked
    const meetsWild = at > 0 || !reserved
    if (meetsWild && at <= least) add(branch.opens, found)
    if (!open && at === fixed) return add(branch.ends, found)
    if (at >= least) return
    if (meetsWild && branch.any) this.#cover(branch.any, at + 1, asked, subject, found)
    // Behind its fixed levels an open filter matches anything, which only "+" covers.
    if (at >= fixed) return
    const level = levels[at]!
    const next = branch.below(level)
    if (next) this.#cover(next, at + 1, asked, subject, found)
    if (branch.holes === undefined) return
    for (const hole of branch.holes)
      if (filledLevel(hole.level, at, subject) === level) this.#cover(hole.below, at + 1, asked, subject, found)
  }

  #overlap(branch: Branch<T>, at: number, asked: Asked, subject: Subject, found: T[]): void {
    const { levels, fixed, open, least, reserved, wild } = asked
    const meetsWild = at > 0 || !reserved
    // The only topic of a closed length must be long enough for "/#", which does not match "".
    const shortest = branch === this.#root.below('') ? 2 : at
    if (meetsWild && (open || shortest <= fixed)) add(branch.opens, found)
    if (open ? at >= least : at === fixed) add(branch.ends, found)
    if (!open && at >= fixed) return
    if (meetsWild && branch.any) this.#overlap(branch.any, at + 1, asked, subject, found)
    const level = at < fixed ? levels[at]! : '+'
    const meets = (word: string): boolean =>
      level === '+' ? !(at === 0 && wild && word.startsWith('$')) : word === level
    branch.eachWord((word, below) => {
      if (meets(word)) this.#overlap(below, at + 1, asked, subject, found)
    })
    for (const { level: hole, below } of branch.holes ?? []) {
      const word = filledLevel(hole, at, subject)
      if (word !== undefined && meets(word)) this.#overlap(below, at + 1, asked, subject, found)
    }
  }
}

/** A list of one has room for one: an empty one that something is pushed to has room for seventeen. */
export function joined<T>(list: T[] | undefined, item: T): T[] {
  if (list === undefined) return [item]
  list.push(item)
  return list
}

function add<T>(said: readonly T[] | undefined, found: T[]): void {
  if (said !== undefined) for (const one of said) found.push(one)
}
