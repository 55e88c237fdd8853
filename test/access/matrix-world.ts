import { Decisions } from '../../src/access/decisions.ts'
import { explain, explainReceiving } from '../../src/access/explain.ts'
import { type ClientPermissions, type Holder, Permissions } from '../../src/access/permissions.ts'
import { Act, type Action, actions, compileRules, type Rule } from '../../src/access/rules.ts'
import { parseFilter, TopicTable } from '../../src/mqtt/topic.ts'
import { SeededRandom } from '../support/random.ts'
import { oracleAllows, type OracleClient, oracleSubscribes } from './oracle.ts'

// Random rules, clients, topics and reloads; each answer is held against the oracle's.

/** What differs, so that a person can see it: the seed plays it again. */
export interface Leak {
  readonly seed: number
  readonly rules: readonly Rule[] | undefined
  readonly client: OracleClient
  readonly asked: string
  readonly ours: boolean
}

const words = ['a', 'b', 'c', 'ann', 'pump', '', '$SYS', '%c', '%u', '__proto__', 'ü']
const users = [undefined, '', 'ann', 'bob', '+', '#', 'a/b', '$SYS', 'a', 'constructor', 'ann\u0007']
const ids = ['pump', '', 'b', '+', '#', 'a/b', '%u', '$SYS', 'c']
const groupNames = ['ops', 'ann', 'sensors']

/** Asks until `cases` answers are compared. @returns the first that differs */
export function compare(seed: number, cases: number): Leak | undefined {
  const random = new SeededRandom(seed)
  let compared = 0
  while (compared < cases) {
    const world = new World(random)
    for (let round = 0; round < 4; round++) {
      for (let times = 0; times < 60; times++, compared++) {
        const leak = world.ask()
        if (leak) return { seed, ...leak }
      }
      world.reload()
    }
  }
  return undefined
}

class World {
  readonly #random: SeededRandom
  readonly #topics = new TopicTable(7, 64)
  readonly #permissions: Permissions
  #rules: readonly Rule[] | undefined
  readonly #clients: { readonly who: OracleClient; readonly permissions: ClientPermissions }[]
  readonly #names: readonly string[]

  constructor(random: SeededRandom) {
    this.#random = random
    this.#rules = this.#anyRules()
    // A small table, so that places are taken from each other.
    this.#permissions = new Permissions(this.#rules ? [compileRules(this.#rules)] : [], {}, new Decisions(16))
    this.#clients = Array.from({ length: 4 }, () => this.#client())
    this.#names = Array.from({ length: 8 }, () => this.#topic())
  }

  reload(): void {
    this.#rules = this.#anyRules()
    this.#permissions.reload(this.#rules ? [compileRules(this.#rules)] : [])
  }

  ask(): Omit<Leak, 'seed'> | undefined {
    const random = this.#random
    const { who, permissions } = random.pick(this.#clients)
    const name = random.pick(this.#names)
    const topic = this.#topics.named(name)
    const rules = this.#rules
    const allows = (action: Action): boolean => oracleAllows(rules, who, action, name)
    const differs = (asked: string, ours: boolean, theirs: boolean): Omit<Leak, 'seed'> | undefined =>
      ours === theirs ? undefined : { rules, client: who, asked, ours }

    switch (random.below(7)) {
      case 0:
        return differs(`publish ${name}`, permissions.may(Act.publish, topic), allows('publish'))
      case 1: {
        const bits = Act.publish | Act.retain
        return differs(`publish retained ${name}`, permissions.may(bits, topic), allows('publish') && allows('retain'))
      }
      case 2: {
        const retained = random.once(2)
        const bits = Act.publish | Act.will | (retained ? Act.retain : 0)
        const wanted = allows('publish') && allows('will') && (!retained || allows('retain'))
        return differs(`will ${retained ? 'retained ' : ''}${name}`, permissions.may(bits, topic), wanted)
      }
      case 3:
        return differs(`receive ${name}`, permissions.may(Act.receive, topic), allows('receive'))
      case 4:
        return this.#explained(who, name, differs)
      default: {
        const filter = this.#filter(false)
        const shared = random.once(2)
        const parsed = parseFilter(filter).filter
        const wanted = oracleSubscribes(rules, who, filter, shared)
        const leak = differs(
          `subscribe ${shared ? 'shared ' : ''}${filter}`,
          permissions.mayFilter(parsed, shared),
          wanted,
        )
        if (leak) return leak
        // Whoever is told that all of it may come must never be refused one.
        if (!permissions.receivesAll(parsed)) return undefined
        const inside = topicOf(filter, () => random.pick(words.slice(0, 5)))
        return inside === ''
          ? undefined
          : differs(`all of ${filter}: ${inside}`, true, oracleAllows(rules, who, 'receive', inside))
      }
    }
  }

  /** The words of an explanation are the answer too. */
  #explained<T>(
    who: OracleClient,
    name: string,
    differs: (asked: string, ours: boolean, theirs: boolean) => T | undefined,
  ): T | undefined {
    const random = this.#random
    const own = who.tokenRules === undefined ? [] : [compileRules(who.tokenRules as readonly Rule[])]
    const policies = [...this.#permissions.policies, ...own]
    const action = random.pick(actions)
    const { allowed, rule } = explain(policies, who, action, name)
    const leak = differs(`explain ${action} ${name}`, allowed, oracleAllows(this.#rules, who, action, name))
    if (leak !== undefined || (rule !== undefined && rule.allows !== allowed)) return leak ?? differs(name, true, false)
    const filter = this.#filter(false)
    const subscribed = explain(policies, who, 'subscribe', filter)
    const wanted = oracleSubscribes(this.#rules, who, filter, false)
    const inside = topicOf(filter, () => random.pick(words.slice(0, 5)))
    const { delivered } = explainReceiving(policies, who, filter)
    const comes = inside !== '' && inside[0] !== '$' && oracleAllows(this.#rules, who, 'receive', inside)
    return (
      differs(`explain subscribe ${filter}`, subscribed.allowed, wanted) ??
      (delivered === 'none' ? differs(`explain: none of ${filter}: ${inside}`, false, comes) : undefined) ??
      (delivered === 'all' && inside !== '' && inside[0] !== '$'
        ? differs(`explain: all of ${filter}: ${inside}`, true, comes)
        : undefined)
    )
  }

  #anyRules(): readonly Rule[] | undefined {
    const count = this.#random.below(9)
    return count === 0 ? undefined : Array.from({ length: count }, () => this.#rule())
  }

  #rule(): Rule {
    const random = this.#random
    return {
      effect: random.below(3) === 0 ? 'deny' : 'allow',
      who: random.pick<() => Rule['who']>([
        () => ({ everybody: true }),
        () => ({ everybody: true }),
        () => ({ anonymous: true }),
        () => ({ users: [random.pick(users) ?? 'bob', 'ann'] }),
        () => ({ groups: [random.pick(groupNames)] }),
        () => ({ clientIds: [random.pick(ids)], users: ['bob'] }),
      ])(),
      actions: actions.filter(() => random.below(3) > 0),
      topics: Array.from({ length: 1 + random.below(2) }, () => this.#filter(true)),
    }
  }

  #client(): { who: OracleClient; permissions: ClientPermissions } {
    const random = this.#random
    const user = random.pick(users)
    const groups = groupNames.filter(() => random.once(3))
    const clientId = random.pick(ids)
    const tokenRules = random.once(8) ? [this.#rule(), this.#rule()] : undefined
    const holder: Holder | undefined =
      user === undefined ? undefined : { user, groups, ...(tokenRules && { permissions: tokenRules }) }
    const who = { user, groups: holder ? groups : [], clientId, ...(holder && tokenRules && { tokenRules }) }
    return { who, permissions: this.#permissions.for(holder, clientId) }
  }

  /** Short ones over few words, so that they meet. */
  #filter(holes: boolean): string {
    const random = this.#random
    const levels: string[] = []
    for (let at = random.below(4); at > 0; at--) {
      const word = random.once(3) ? '+' : random.pick(words)
      levels.push(!holes && word.startsWith('%') ? 'a' : word)
    }
    if (levels.length === 0 || random.once(3)) levels.push('#')
    return levels.join('/') || '#'
  }

  #topic(): string {
    return topicOf(this.#filter(false), () => this.#random.pick(words)) || 'a'
  }
}

/** A topic that a filter matches. */
function topicOf(filter: string, word: () => string): string {
  return filter
    .split('/')
    .map((level) => (level === '+' || level === '#' ? word() : level))
    .join('/')
}
