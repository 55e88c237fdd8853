import { MqttError, Reason } from './reason.ts'
import { maxLevels, maxTopicBytes, parseFilter, type TopicFilter } from './topic.ts'
import { hiddenOf, tenantLevel } from './tenant-name.ts'

/** Where the topics of one tenant stand. */
export class Root {
  /** `$tenant/NAME/` */
  readonly text: string
  readonly bytes: Uint8Array

  /** @param tenant a checked name */
  constructor(readonly tenant: string) {
    this.text = `${tenantLevel}/${tenant}/`
    this.bytes = Buffer.from(this.text)
  }

  /** Whose root it is. @param text of one */
  static tenantOf(text: string): string {
    return text.slice(tenantLevel.length + 1, -1)
  }

  /** The topic that a client of the tenant has written, checked already, as the broker names it. @throws MqttError 0x90 */
  topic(written: string): string {
    return this.#within(this.text + written, Reason.topicNameInvalid, 'topic name')
  }

  /** The same of a filter; a shared subscription's root stands behind its group. @throws MqttError 0x8F */
  filter(written: string): string {
    const { filter, group } = parseFilter(written)
    const inside = this.#within(this.text + filter, Reason.topicFilterInvalid, 'topic filter')
    return group === undefined ? inside : `$share/${group}/${inside}`
  }

  #within(inside: string, reason: Reason, what: string): string {
    if (Buffer.byteLength(inside) > maxTopicBytes)
      throw new MqttError(reason, 'MQTT-4.7.3-3', `with the root of its tenant the ${what} is too long`)
    if (inside.split('/', maxLevels + 1).length > maxLevels)
      throw new MqttError(reason, 'MQTT-4.7.3', `a tenant's ${what} may have ${maxLevels - 2} levels at most`)
    return inside
  }
}

/** What a client of the tenant would have written for a filter of its; any other filter as it is. */
export function shownFilter(filter: TopicFilter): TopicFilter {
  return filter.slice(hiddenOf(filter)) as TopicFilter
}
