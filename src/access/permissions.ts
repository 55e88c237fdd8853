import { shownFilter } from '../mqtt/root.ts'
import type { Topic, TopicFilter } from '../mqtt/topic.ts'
import { Decisions } from './decisions.ts'
import type { Identity } from './identity.ts'
import type { Pattern, Subject } from './placeholders.ts'
import { Asked } from './rule-tree.ts'
import { Act, compileRules, everyAction, granted, type Policy, type Statement, unusable, verdict } from './rules.ts'

/** What permissions need to know of somebody who has logged in. */
export type Holder = Pick<Identity, 'user' | 'groups' | 'permissions'> & Partial<Pick<Identity, 'source'>>

export interface PermissionEffects {
  /** A rule says nothing for this client, as its id or user name could change what the rule's topics mean. */
  unusable?(statement: Statement, pattern: Pattern, subject: Subject): void
}

/**
 * Who may do what. Denied by any policy is denied; else allowed by any is allowed; with no policy at all everything is.
 *
 *   for(identity, client id) ─▶ ClientPermissions.may(actions, topic)
 *                                    └▶ Decisions: known? that, else what the rules say of it, and remember
 */
export class Permissions {
  readonly decisions: Decisions
  readonly #effects: PermissionEffects
  #policies: readonly Policy[]
  #generation = 1
  /** Numbers of clients: each reload gives them new ones, and so forgets what was decided. */
  #numbers = 0
  /** What was decided on last. */
  #topic: Topic | undefined = undefined
  #asked: Asked | undefined = undefined

  constructor(policies: readonly Policy[], effects: PermissionEffects = {}, decisions = new Decisions()) {
    this.#policies = policies
    this.#effects = effects
    this.decisions = decisions
  }

  /** Grows with each reload. */
  get generation(): number {
    return this.#generation
  }

  get policies(): readonly Policy[] {
    return this.#policies
  }

  /** From now on these hold, for everybody who is connected too. */
  reload(policies: readonly Policy[]): void {
    this.#policies = policies
    this.#generation++
  }

  /** As `for`; undefined when nothing limits it, so that nobody has to ask. */
  limiting(identity: Holder | undefined, clientId: string): ClientPermissions | undefined {
    if (this.#policies.length === 0 && identity?.permissions === undefined) return undefined
    return this.for(identity, clientId)
  }

  /** @param identity undefined: anonymous */
  for(identity: Holder | undefined, clientId: string): ClientPermissions {
    const subject = { user: identity?.user, groups: identity?.groups ?? [], clientId }
    const own = identity?.permissions === undefined ? [] : [compileRules(identity.permissions)]
    const brought = identity?.source === 'jwt' || identity?.source === 'http'
    return new ClientPermissions(this, subject, own, brought)
  }

  /** @internal Cut once for all who are asked of the same message. */
  asked(topic: Topic): Asked {
    if (this.#topic !== topic) {
      this.#topic = topic
      this.#asked = new Asked(topic.shown)
    }
    return this.#asked!
  }

  /** @internal A number for a client, and a word about rules that are of no use to it. */
  enrol(subject: Subject, policies: readonly Policy[]): number {
    if (this.#effects.unusable)
      for (const policy of policies)
        for (const [statement, pattern] of unusable(policy, subject))
          this.#effects.unusable(statement, pattern, subject)
    return ++this.#numbers
  }
}

/** What one client may do. Holds good across reloads. */
export class ClientPermissions {
  readonly #all: Permissions
  readonly #subject: Subject
  readonly #own: readonly Policy[]
  readonly #decisions: Decisions
  #policies: readonly Policy[] = []
  #generation = 0
  #number = 0

  /** Made by `Permissions.for`. */
  constructor(
    all: Permissions,
    subject: Subject,
    own: readonly Policy[],
    /** Its groups and rules came with its log-in, and stand in no file. */
    readonly brought: boolean,
  ) {
    this.#all = all
    this.#subject = subject
    this.#own = own
    this.#decisions = all.decisions
  }

  /** Are all of these actions (bits of `Act`) allowed on a topic? */
  may(actions: number, topic: Topic): boolean {
    if (this.#generation !== this.#all.generation) this.#renew()
    const known = this.#decisions.find(this.#number, topic)
    return ((known < 0 ? this.#decide(topic) : known) & actions) === actions
  }

  publishes(topic: Topic): boolean {
    return this.may(Act.publish, topic)
  }

  receives(topic: Topic): boolean {
    return this.may(Act.receive, topic)
  }

  /** May it subscribe to a filter? Some rule must cover all of it; what only part of it is denied is asked of each message. */
  mayFilter(filter: TopicFilter, shared: boolean): boolean {
    if (this.#generation !== this.#all.generation) this.#renew()
    if (this.#policies.length === 0) return true
    const wanted = Act.subscribe | (shared ? Act.shared : 0)
    return (this.#granted(new Asked(shownFilter(filter))) & wanted) === wanted
  }

  /** Is every message that a filter matches allowed to come, until the next reload? Then nobody needs to ask of each. */
  receivesAll(filter: TopicFilter): boolean {
    if (this.#generation !== this.#all.generation) this.#renew()
    if (this.#policies.length === 0) return true
    const asked = new Asked(shownFilter(filter))
    let allowed = false
    for (const stage of this.#policies.flatMap(({ stages }) => stages)) {
      if (stage.overlapping(asked, this.#subject).some(deniesReceiving)) return false
      allowed ||= stage.covering(asked, this.#subject).some(allowsReceiving)
    }
    return allowed
  }

  #decide(topic: Topic): number {
    const bits = this.#policies.length === 0 ? everyAction : this.#granted(this.#all.asked(topic))
    this.#decisions.keep(this.#number, topic, bits)
    return bits
  }

  #granted(asked: Asked): number {
    let verdicts = 0
    for (const policy of this.#policies) verdicts |= verdict(policy, this.#subject, asked)
    return granted(verdicts)
  }

  #renew(): void {
    this.#generation = this.#all.generation
    const { policies } = this.#all
    this.#policies = this.#own.length === 0 ? policies : [...policies, ...this.#own]
    this.#number = this.#all.enrol(this.#subject, this.#policies)
  }
}

function deniesReceiving({ allows, actions }: Statement): boolean {
  return !allows && (actions & Act.receive) !== 0
}

function allowsReceiving({ allows, actions }: Statement): boolean {
  return allows && (actions & Act.receive) !== 0
}
