import { reasonName } from '../../mqtt/reason.ts'
import { tlsWords } from '../../platform/tls-words.ts'
import { CliError, Exit } from '../io.ts'
import { inert } from '../terminal.ts'
import { endpointUrl, type Endpoint } from './endpoint.ts'

// What the operating system, TLS and mqtt.js mean by their codes.
const causes = new Map([
  ['ECONNREFUSED', 'connection refused'],
  ['ECONNRESET', 'the connection was reset'],
  ['EPIPE', 'the connection was reset'],
  ['ENOTFOUND', 'no such host'],
  ['EAI_AGAIN', 'the name server does not answer'],
  ['ETIMEDOUT', 'no answer'],
  ['EHOSTUNREACH', 'no route to the host'],
  ['ENETUNREACH', 'no route to the host'],
  ['EPROTO', 'the TLS handshake failed: does this port speak TLS?'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'its certificate is self-signed: trust it with --cafile'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'its certificate comes from an unknown authority: trust that with --cafile'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'its certificate comes from an unknown authority: trust that with --cafile'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'its certificate comes from an unknown authority: trust that with --cafile'],
  ['CERT_HAS_EXPIRED', 'its certificate has expired'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'its certificate is for another host name'],
  ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'it asks for a certificate: --cert FILE --key FILE'],
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'it does not know the authority of our certificate (--cert)'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'our certificate (--cert) has expired'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED', 'our certificate (--cert) has been revoked'],
])

// CONNACK return codes of MQTT 3.1 and 3.1.1 (table 3.1), and SUBACK's only failure (3.9.3).
const oldCodes = new Map([
  [1, 'unacceptable protocol version'],
  [2, 'client id rejected'],
  [3, 'server unavailable'],
  [4, 'bad user name or password'],
  [5, 'not authorized'],
  [0x80, 'failure'],
])

/** A reason code in words: `not authorized (0x87)`. `text` is what the broker says itself. */
export function reasonWords(code: number, version: 3 | 4 | 5, text?: string): string {
  const old = version === 5 ? undefined : oldCodes.get(code)
  const words =
    old ??
    reasonName(code)
      .replace(/(?<=[a-z])(?=[A-Z])/g, ' ')
      .toLowerCase()
  const proper = words.replace(/\bqos\b/, 'QoS')
  const hex = `0x${code.toString(16).padStart(2, '0')}`
  return `${proper === hex ? 'reason' : proper} (${hex})${text ? `: ${inert(text)}` : ''}`
}

/** Why a connection could not be made, or was lost, in words. */
export function causeOf(fault: Error | undefined): string {
  if (!fault) return 'the broker closed the connection'
  const code = (fault as { code?: unknown }).code
  const known = typeof code === 'string' ? causes.get(code) : undefined
  if (known !== undefined) return known
  if (fault.message === 'connack timeout') return 'no answer'
  // The complaints of mqtt-packet about bytes that are none of its packets.
  if (/^(Invalid|Cannot parse|Malformed|Not supported|Packet|Unknown property)/.test(fault.message))
    return `this is no MQTT: ${inert(fault.message)}`
  return inert(tlsWords(fault))
}

/** The reason code of a refusal: mqtt.js gives it as the error's code. */
export function codeOf(fault: Error | undefined): number | undefined {
  const code = (fault as { code?: unknown } | undefined)?.code
  return typeof code === 'number' ? code : undefined
}

/** Why there is no connection. */
export function connectFault(
  endpoint: Endpoint,
  version: 3 | 4 | 5,
  fault: Error | undefined,
  text?: string,
): CliError {
  const code = codeOf(fault)
  const url = endpointUrl(endpoint)
  if (code === undefined) return new CliError(Exit.failure, `cannot connect to ${url}: ${causeOf(fault)}`)
  return new CliError(Exit.refused, `${url} refused the connection: ${reasonWords(code, version, text)}`)
}
