import type { Hooks } from '../access/hooks.ts'
import type { Rulebook } from '../broker/entitling.ts'
import type { Config } from '../config/config.ts'
import { policiesOf } from '../config/permissions.ts'

/** Who may do what, by a configuration, and what its files say of users who are not here. */
export function rulebookOf(config: Config, hooks: Hooks): Rulebook {
  const { auth } = config
  const policies = policiesOf(config)
  return {
    policies,
    named(user) {
      const known = auth?.users?.users.get(user)
      if (known) return { user, ...(known.groups && { groups: known.groups }) }
      if (auth?.mosquitto?.has(user)) return { user }
      // Of a token or an answer of the hook nothing is left but the name; and a name that nobody had to prove is none.
      if (auth ? auth.jwt || auth.http : policies.length > 0 && !hooks.authenticate) return undefined
      return { user }
    },
  }
}
