const mebibyte = 1024 * 1024

/** Every bound of the broker, with its default. Each one is counted when it refuses something. */
export interface Limits {
  /** Largest packet that a client may send, in bytes; announced to v5 clients. */
  readonly packetBytes: number
  /** The same, before CONNECT has been accepted. */
  readonly packetBytesBeforeConnect: number
  /** What all who have not sent CONNECT may make us hold: their bytes, and what each costs. */
  readonly bytesBeforeConnectTotal: number
  /** Time for the handshakes and CONNECT together. */
  readonly connectSeconds: number
  /** Time that a host program's hook has for its answer; then it is a no. */
  readonly hookSeconds: number
  readonly clientIdBytes: number
  readonly userProperties: number
  readonly userPropertyBytes: number
  readonly subscriptionsPerSession: number
  /** Aliases that a client may set, and that we set at most for a client. */
  readonly topicAliases: number
  /** QoS 1 and 2 messages that a v5 client may send unacknowledged; announced. */
  readonly receiveMaximum: number
  /** QoS 1 and 2 messages that we send to one client unacknowledged, if it does not ask for fewer. */
  readonly inflightMessages: number
  readonly queueMessages: number
  readonly queueBytes: number
  /** The queues of all sessions together, in bytes as `queueBytes` counts them, wherever they are kept. */
  readonly queueBytesTotal: number
  /** Longest session expiry that is granted; also the expiry of a 3.x session with clean session 0. */
  readonly sessionExpirySeconds: number
  /** Longest keep alive; a client that asks for 0 or more gets this one (v5: told so). */
  readonly keepAliveSeconds: number
  /** Bytes not yet taken by a client's socket, above which QoS 0 is dropped and the rest waits. */
  readonly unsentBytes: number
  /** A client whose socket takes nothing for so long is disconnected. */
  readonly stallSeconds: number
  readonly retainedMessages: number
  readonly retainedBytes: number
  /** Period of the `$SYS` topics; 0 turns them off. */
  readonly sysSeconds: number
}

export const defaultLimits: Limits = {
  packetBytes: 2_000_000,
  packetBytesBeforeConnect: 65_536,
  bytesBeforeConnectTotal: 64 * mebibyte,
  connectSeconds: 10,
  hookSeconds: 5,
  clientIdBytes: 256,
  userProperties: 64,
  userPropertyBytes: 8192,
  subscriptionsPerSession: 1000,
  topicAliases: 32,
  receiveMaximum: 1024,
  inflightMessages: 1024,
  queueMessages: 1000,
  queueBytes: 16 * mebibyte,
  queueBytesTotal: 1024 * mebibyte,
  sessionExpirySeconds: 7 * 24 * 3600,
  keepAliveSeconds: 600,
  unsentBytes: mebibyte,
  stallSeconds: 30,
  retainedMessages: 1_000_000,
  retainedBytes: 256 * mebibyte,
  sysSeconds: 10,
}
