import type { Message } from '../mqtt/message.ts'
import type { QoS } from '../mqtt/topic.ts'

/** What a host program is told. Nothing is built for an event that nobody listens to. */
export interface Observer {
  connected?(client: { id: string; username: string | undefined; tenant: string | undefined; remote: string }): void
  disconnected?(client: { id: string; reason: string }): void
  subscribed?(clientId: string, filter: string, qos: QoS): void
  unsubscribed?(clientId: string, filter: string): void
  published?(message: Message, clientId: string): void
  lost?(reason: string, clientId: string, topic: string): void
}
