/** Reason codes that a server sends or reads (MQTT 5.0, section 2.4). */
export const Reason = {
  success: 0x00,
  grantedQos1: 0x01,
  grantedQos2: 0x02,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  continueAuthentication: 0x18,
  reauthenticate: 0x19,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdInUse: 0x91,
  packetIdNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  useAnotherServer: 0x9c,
  serverMoved: 0x9d,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  maximumConnectTime: 0xa0,
  subscriptionIdsNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const
export type Reason = (typeof Reason)[keyof typeof Reason]

/** What PUBACK and PUBREC may carry (tables 3-4 and 3-5). */
export const publishReasons: readonly number[] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
/** What SUBACK may carry (table 3-8). */
export const subscribeReasons: readonly number[] = [0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]
/** What CONNACK may refuse with (table 3-1). */
export const connectReasons: readonly number[] = [
  0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c,
  0x9d, 0x9f,
]
/** What a server's DISCONNECT may carry (table 3-10). */
export const disconnectReasons: readonly number[] = [
  0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a,
  0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
]

/** What DISCONNECT would say, as CONNACK may say it. */
export const beforeConnack = new Map<Reason, Reason>([
  [Reason.serverShuttingDown, Reason.serverUnavailable],
  [Reason.sessionTakenOver, Reason.serverUnavailable],
])

/** CONNACK return codes of 3.1 and 3.1.1 (table 3.1). */
export const connackCodes = new Map<number, number>([
  [Reason.unsupportedProtocolVersion, 1],
  [Reason.clientIdNotValid, 2],
  [Reason.serverUnavailable, 3],
  [Reason.serverBusy, 3],
  [Reason.useAnotherServer, 3],
  [Reason.serverMoved, 3],
  [Reason.quotaExceeded, 3],
  [Reason.badUserNameOrPassword, 4],
  [Reason.notAuthorized, 5],
  [Reason.banned, 5],
  [Reason.badAuthenticationMethod, 5],
])

/**
 * A refusal as a packet may carry it: a hook may throw any code [MQTT-3.2.2-8, -3.4.2-1, -3.5.2-1, -3.9.3-2,
 * -3.14.2-1].
 */
export function refusalIn(reasons: readonly number[], reason: number): number {
  return reason >= 0x80 && reasons.includes(reason) ? reason : Reason.notAuthorized
}

const names = new Map<number, string>(Object.entries(Reason).map(([name, code]) => [code, name]))

/** The name of a reason code, for logs: `reasonName(0x8e)` is `sessionTakenOver`. */
export function reasonName(code: number): string {
  return names.get(code) ?? `0x${code.toString(16).padStart(2, '0')}`
}

/** A peer's fault: the code to answer with, the clause of the standard that it breaks, and what was wrong. */
export class MqttError extends Error {
  override readonly name = 'MqttError'
  /** What the peer hears of it. */
  readonly told: string

  /** @param told where the peer must not learn all that our log says */
  constructor(
    readonly reason: Reason,
    readonly clause: string,
    message: string,
    told?: string,
  ) {
    super(shortened(message))
    this.told = told ?? this.message
  }
}

/** What quotes a peer goes into the log and into a reason string, which holds 65,535 bytes: its middle is left out. */
function shortened(message: string): string {
  return message.length <= 300 ? message : `${message.slice(0, 200)}…${message.slice(-99)}`
}

/** Our own fault: a state that the code promised could not be. */
export function assert(condition: boolean, what = 'invariant broken'): asserts condition {
  if (!condition) throw new Error(`godwit bug: ${what}`)
}
