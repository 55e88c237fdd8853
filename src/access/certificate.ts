import type { PeerCertificate } from '../host.ts'
import { type Answer, type Authenticator, type Credentials, isName } from './identity.ts'

/** Where in a certificate the user's name stands: the common name, or a subject alternative name of a kind. */
export const certificateNames = ['cn', 'dns', 'email', 'uri'] as const
export type CertificateName = (typeof certificateNames)[number]

/**
 * Lets those in whom TLS has found to have a certificate of an authority that the listener names. The name is taken as it
 * stands there or not at all: where it could be read in two ways, nobody is let in.
 */
export class CertificateAuthenticator implements Authenticator {
  readonly source = 'certificate'
  readonly #name: CertificateName
  readonly #now: () => number

  /** @param now the wall clock's time, in Unix milliseconds */
  constructor(name: CertificateName, now: () => number) {
    this.#name = name
    this.#now = now
  }

  authenticate({ certificate }: Credentials): Answer {
    if (!certificate) return 'not-mine'
    if (!certificate.authorized) return { denied: 'certificate: TLS has not found it good' }
    const [from, to] = [Date.parse(certificate.valid_from), Date.parse(certificate.valid_to)]
    // Once more: its time may have come since the handshake that is resumed.
    if (!(from <= this.#now() && this.#now() < to)) return { denied: 'certificate: it is not good at this time' }
    const names = this.#name === 'cn' ? commonNames(certificate) : alternativeNames(certificate, this.#name)
    if (names === undefined) return { denied: 'certificate: its names cannot be read' }
    if (names.length !== 1) return { denied: `certificate: ${names.length} names of the kind ${this.#name}` }
    const [user] = names
    if (!isName(user)) return { denied: `certificate: its ${this.#name} is no name of a user` }
    return { identity: { user, source: 'certificate', expiresAt: Math.floor(to / 1000) } }
  }
}

function commonNames({ subject }: PeerCertificate): readonly string[] {
  const name = subject && Object.hasOwn(subject, 'CN') ? subject['CN'] : undefined
  return name === undefined ? [] : [name].flat()
}

const labels = { dns: 'DNS', email: 'email', uri: 'URI' } as const

/** @returns undefined when the list is not as Node writes it */
function alternativeNames({ subjectaltname = '' }: PeerCertificate, kind: Exclude<CertificateName, 'cn'>) {
  const names: string[] = []
  for (let at = 0; at < subjectaltname.length;) {
    const entry = entryAt(subjectaltname, at)
    if (!entry) return undefined
    if (entry.label === labels[kind]) names.push(entry.value)
    at = entry.end
  }
  return names
}

/**
 * `DNS:a.example, URI:urn:b, DNS:"c\u0000, DNS:d"`: Node puts a value in JSON's quotes when it could be taken for more than
 * one (CVE-2021-44532).
 */
function entryAt(text: string, at: number): { label: string; value: string; end: number } | undefined {
  const colon = text.indexOf(':', at)
  if (colon < 0) return undefined
  const label = text.slice(at, colon)
  if (text[colon + 1] !== '"') {
    const comma = text.indexOf(', ', colon)
    const stop = comma < 0 ? text.length : comma
    return { label, value: text.slice(colon + 1, stop), end: stop + 2 }
  }
  let quote = colon + 2
  while (quote < text.length && text[quote] !== '"') quote += text[quote] === '\\' ? 2 : 1
  const after = text.slice(quote + 1, quote + 3)
  if (quote >= text.length || (after !== '' && after !== ', ')) return undefined
  try {
    return { label, value: JSON.parse(text.slice(colon + 1, quote + 1)) as string, end: quote + 3 }
  } catch {
    return undefined
  }
}
