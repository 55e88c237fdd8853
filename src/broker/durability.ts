import type { CachedDurability, Topic, TopicFilter } from '../mqtt/topic.ts'
import type { Durability } from '../store/port.ts'

/** What is published on topics that match `filter` has this class. */
export interface DurabilityRule {
  readonly filter: TopicFilter
  readonly durability: Durability
}

/** What one rule decides. All topics that it decides share the object, so that a topic costs a pointer. */
class Verdict implements CachedDurability {
  constructor(
    readonly owner: DurabilityRules,
    /** Undefined: no rule matches. */
    readonly durability: Durability | undefined,
  ) {}
}

/**
 * The class of durability by topic; the first rule that matches wins.
 *
 *   topic ──▶ `Verdict` on the topic, of this instance? that one, else try the rules in order
 *
 * Rules never change: a reload makes a new instance, which knows the old one's verdicts by their owner.
 */
export class DurabilityRules {
  /** There are no rules: the caller may as well not ask. */
  readonly none: boolean
  readonly #filters: readonly TopicFilter[]
  readonly #verdicts: readonly Verdict[]
  readonly #unruled: Verdict

  constructor(rules: readonly DurabilityRule[]) {
    this.none = rules.length === 0
    this.#filters = rules.map(({ filter }) => filter)
    this.#verdicts = rules.map(({ durability }) => new Verdict(this, durability))
    this.#unruled = new Verdict(this, undefined)
  }

  /** The class of a message on `topic`; `listenerDefault` when no rule matches. */
  of(topic: Topic, listenerDefault: Durability): Durability {
    if (this.none) return listenerDefault
    const known = topic.durability as Verdict | undefined
    const verdict = known !== undefined && known.owner === this ? known : this.#decide(topic)
    return verdict.durability ?? listenerDefault
  }

  #decide(topic: Topic): Verdict {
    const at = this.#filters.findIndex((filter) => matches(filter, topic.name))
    return (topic.durability = this.#verdicts[at] ?? this.#unruled)
  }
}

const hash = 0x23
const dollar = 0x24
const plus = 0x2b
const slash = 0x2f

/** Does a checked filter match a checked name (MQTT 5.0, 4.7)? One pass, no allocation. */
function matches(filter: string, name: string): boolean {
  const first = filter.charCodeAt(0)
  // A filter that starts with a wildcard does not match a topic that starts with "$" [MQTT-4.7.2-1].
  if (name.charCodeAt(0) === dollar && (first === plus || first === hash)) return false
  // Both stand at the start of a level, then at its end or at the first difference.
  for (let f = 0, n = 0; ; f++, n++) {
    const char = filter.charCodeAt(f)
    if (char === hash) return true
    if (char === plus) {
      f++
      while (n < name.length && name.charCodeAt(n) !== slash) n++
    } else
      for (let c = char; f < filter.length && c !== slash && c === name.charCodeAt(n); c = filter.charCodeAt(f)) {
        f++
        n++
      }
    // "a/#" matches "a" too.
    if (n === name.length) return f === filter.length || (f + 2 === filter.length && filter.endsWith('/#'))
    if (filter.charCodeAt(f) !== slash || name.charCodeAt(n) !== slash) return false
  }
}
