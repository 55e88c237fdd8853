// Who may do what, told from the text of the documentation alone: strings and loops, nothing shared with what it judges.

export interface OracleRule {
  readonly effect: 'allow' | 'deny'
  readonly who: {
    readonly everybody?: true
    readonly anonymous?: true
    readonly users?: readonly string[]
    readonly groups?: readonly string[]
    readonly clientIds?: readonly string[]
  }
  readonly actions: readonly string[]
  readonly topics: readonly string[]
}

export interface OracleClient {
  readonly user: string | undefined
  readonly groups: readonly string[]
  readonly clientId: string
  readonly tokenRules?: readonly OracleRule[]
}

/** May the client do `action` on this topic? `rules`: those of the configuration; undefined when it has none. */
export function oracleAllows(
  rules: readonly OracleRule[] | undefined,
  client: OracleClient,
  action: string,
  topic: string,
): boolean {
  return judge(rules, client, action, (filter) => topicIsIn(filter, topic))
}

/** May the client subscribe to this filter (without $share)? */
export function oracleSubscribes(
  rules: readonly OracleRule[] | undefined,
  client: OracleClient,
  filter: string,
  shared: boolean,
): boolean {
  const all = (wide: string): boolean => filterIsIn(wide, filter)
  return judge(rules, client, 'subscribe', all) && (!shared || judge(rules, client, 'shared', all))
}

function judge(
  rules: readonly OracleRule[] | undefined,
  client: OracleClient,
  action: string,
  isIn: (filter: string) => boolean,
): boolean {
  if (rules === undefined && client.tokenRules === undefined) return true
  let granted = false
  for (const rule of [...(rules ?? []), ...(client.tokenRules ?? [])]) {
    if (!rule.actions.includes(action)) continue
    if (!isMeant(rule, client)) continue
    let matches = false
    for (const topic of rule.topics) {
      const filter = fillIn(topic, client)
      if (filter !== 'void' && isIn(filter.slice(1))) matches = true
    }
    if (!matches) continue
    if (rule.effect === 'deny') return false
    granted = true
  }
  return granted
}

function isMeant({ who }: OracleRule, client: OracleClient): boolean {
  if (who.everybody) return true
  const named = client.user !== undefined && client.user !== ''
  if (!named && who.anonymous) return true
  if (named) for (const user of who.users ?? []) if (user === client.user) return true
  for (const id of who.clientIds ?? []) if (id === client.clientId) return true
  for (const group of who.groups ?? []) for (const own of client.groups) if (own === group) return true
  return false
}

/** The filter behind an "=", or "void" when the rule says nothing. */
function fillIn(topic: string, client: OracleClient): string {
  const levels = topic.split('/')
  for (let at = 0; at < levels.length; at++) {
    let value: string | undefined
    if (levels[at] === '%c') value = client.clientId
    else if (levels[at] === '%u') value = client.user ?? ''
    else continue
    if (value === '') return 'void'
    for (const character of value) {
      if (character === '+' || character === '#' || character === '/') return 'void'
      const code = character.codePointAt(0)!
      if (code < 32 || (code > 126 && code < 160)) return 'void'
    }
    // Topics that begin with "$" are matched only by filters that are written with it.
    if (at === 0 && value[0] === '$') return 'void'
    levels[at] = value
  }
  return `=${levels.join('/')}`
}

function topicIsIn(filter: string, topic: string): boolean {
  if (topic[0] === '$' && filter[0] !== '$') return false
  const f = filter.split('/')
  const t = topic.split('/')
  let at = 0
  while (at < f.length) {
    if (f[at] === '#') return true
    if (at >= t.length) return false
    if (f[at] !== '+' && f[at] !== t[at]) return false
    at++
    if (at === t.length && at === f.length - 1 && f[at] === '#') return true
  }
  return at === t.length
}

/**
 * Is every topic of `narrow` one of `wide`? By trying: topics that are made of `narrow` with words that are nowhere else in
 * place of its wildcards, and of every length that could make a difference.
 */
function filterIsIn(wide: string, narrow: string): boolean {
  const stranger = '~~'
  const n = narrow.split('/')
  const open = n[n.length - 1] === '#'
  const fixed: string[] = []
  for (const level of open ? n.slice(0, -1) : n) fixed.push(level === '+' ? stranger : level)
  const samples: string[] = []
  const longest = Math.max(wide.split('/').length, n.length) + 1
  if (!open) samples.push(fixed.join('/'))
  else
    for (let length = fixed.length; length <= longest; length++) {
      const levels = [...fixed]
      while (levels.length < length) levels.push(stranger)
      if (levels.join('/') !== '') samples.push(levels.join('/'))
    }
  // The stranger of a "+" may also be no word at all; then only "+" can match it too, so one stranger is enough.
  for (const sample of samples) if (!topicIsIn(wide, sample)) return false
  return true
}
