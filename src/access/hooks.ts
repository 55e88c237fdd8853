import { MqttError, Reason } from '../mqtt/reason.ts'
import type { QoS } from '../mqtt/topic.ts'

/** Who is asking. */
export interface ClientInfo {
  readonly id: string
  readonly username: string | undefined
  /** Its id is its own only there, and topics come with the root of their tenant: `$tenant/NAME/…`. Undefined: it has none. */
  readonly tenant: string | undefined
  /** Address and port. */
  readonly remote: string
  readonly version: 3 | 4 | 5
}

export interface PublishRequest {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: QoS
  readonly retain: boolean
  /** True for a will, asked when it is left and again when it fires. */
  readonly will: boolean
}

export interface SubscribeRequest {
  /** Without `$share/group/`. */
  readonly filter: string
  readonly group: string | undefined
  readonly qos: QoS
}

/** One step of an enhanced authentication (MQTT 5.0, 4.12). */
export interface ExchangeStep {
  readonly method: string
  readonly data: Uint8Array | undefined
  /** `connect` and `reauthenticate` start an exchange, `continue` goes on with it. */
  readonly step: 'connect' | 'reauthenticate' | 'continue'
}

/** `done: false` sends AUTH 0x18 with the data and waits for the client's answer. */
export interface ExchangeAnswer {
  readonly done: boolean
  readonly data?: Uint8Array
  /** The user that has been proved, once done. */
  readonly username?: string
}

type Answer<T> = T | Promise<T>

/**
 * A host program's say. A throw denies, and so does an answer that takes too long; `false` denies too. Throw a `Denied`
 * to choose the reason code that an MQTT 5 client is told.
 */
export interface Hooks {
  /**
   * Asked of every client but those of an exchange. With it a session belongs to the user name that it was begun with. After a no the next attempt as
   * that user from that address waits before it is asked of: 0.25 s, and twice as long each time, up to 30 s. A throw is a no, whatever is thrown, for else
   * who guesses would not be slowed down; whom the program cannot judge has not failed: it throws a `Denied` with 0x88 or 0x89, or does not answer in time.
   */
  authenticate?(client: ClientInfo, password: Uint8Array | undefined): Answer<void | boolean>
  authorizePublish?(client: ClientInfo, request: PublishRequest): Answer<void | boolean>
  authorizeSubscribe?(client: ClientInfo, request: SubscribeRequest): Answer<void | boolean>
  /**
   * Enhanced authentication; without it every authentication method is refused with 0x8C. Who names no method is for `authenticate`, and let in where
   * there is none.
   */
  exchange?(client: ClientInfo, step: ExchangeStep): Answer<ExchangeAnswer>
}

/** Thrown by a hook: denies with this reason code and text. */
export class Denied extends MqttError {
  constructor(reason: Reason = Reason.notAuthorized, message = 'denied') {
    super(reason, 'MQTT-3.1.4-2', message)
  }
}

/** A hook that has not answered in time denies, but it has found nothing against the client. */
export class Unanswered extends Denied {
  constructor() {
    super(Reason.notAuthorized, 'the hook did not answer in time')
  }
}

/** What a hook said: its value, or why not. */
export type Verdict<T> = { readonly value: T } | { readonly denied: MqttError }

/**
 * Asks a hook. `then` runs before this returns when the hook answered at once, so a synchronous hook costs no turn.
 * @param delay calls back after the time limit; gives a function that calls it off
 * @returns true when the answer is still to come
 */
export function ask<T>(
  hook: () => Answer<T>,
  delay: (run: () => void) => () => void,
  then: (verdict: Verdict<T>) => void,
): boolean {
  let answer: Answer<T>
  try {
    answer = hook()
  } catch (fault) {
    then({ denied: denial(fault) })
    return false
  }
  if (!isThenable(answer)) {
    then(verdictOf(answer))
    return false
  }
  let open = true
  const settle = (verdict: Verdict<T>) => {
    if (!open) return
    open = false
    callOff()
    then(verdict)
  }
  const callOff = delay(() => settle({ denied: new Unanswered() }))
  Promise.resolve(answer).then(
    (value) => settle(verdictOf(value)),
    (fault: unknown) => settle({ denied: denial(fault) }),
  )
  return true
}

// Any promise, not only the engine's own: one that is taken for a value would be a yes.
function isThenable<T>(answer: T | PromiseLike<T>): answer is PromiseLike<T> {
  return typeof (answer as Partial<PromiseLike<T>> | null | undefined)?.then === 'function'
}

function verdictOf<T>(value: T): Verdict<T> {
  return value === false ? { denied: new Denied() } : { value }
}

function denial(fault: unknown): MqttError {
  if (fault instanceof MqttError) return fault
  return new Denied(Reason.notAuthorized, fault instanceof Error ? fault.message : String(fault))
}
