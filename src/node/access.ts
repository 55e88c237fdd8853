import { Audit } from '../access/audit.ts'
import { PasswordCheck } from '../access/passwords.ts'
import type { Access } from '../broker/access.ts'
import type { Identity } from '../access/identity.ts'
import type { AuthConfig } from '../config/auth.ts'
import type { Config } from '../config/config.ts'
import type { Bytes, Host, PasswordHasher } from '../host.ts'
import { AuditFile } from '../platform/audit-file.ts'
import { openDecoyKey } from '../platform/decoy-key.ts'
import { digests } from '../platform/digests.ts'
import { dateOf } from '../platform/host.ts'
import { type LogInHost, type LogIns, openLogIns } from './log-ins.ts'
import { reviewOf } from './review.ts'

/** Who computes hashes, on threads that must end. */
export interface OpenHasher extends PasswordHasher {
  close(): Promise<void>
}

/** An audit log that cannot be written. The message names it. */
export class AuditError extends Error {
  override readonly name = 'AuditError'
}

/** How often refusals that had no line of their own are counted in one. */
const flushMs = 10_000

/** Who may come in, and what of that outlives a reload. */
export class NodeAccess {
  /** What the broker reads. */
  readonly access: Access = { logIns: undefined, audit: undefined }
  readonly #host: LogInHost
  readonly #hasher: OpenHasher
  readonly #file: AuditFile | undefined
  readonly #auditFile: string | undefined
  readonly #stopFlushing: () => void
  #auth: AuthConfig | undefined
  #logIns: LogIns | undefined

  /** @param data where secrets are kept that must outlive the process; undefined: nowhere. @throws ClusterIdentityError */
  constructor(config: Config, host: Host, hasher: OpenHasher, data: string | undefined) {
    this.#hasher = hasher
    let key: Bytes | undefined
    this.#host = {
      ...host,
      hasher,
      rehashed: new Map(),
      check: new PasswordCheck(hasher, digests, host.random),
      // Not before somebody needs it: most brokers never do.
      get decoyKey() {
        return (key ??= data === undefined ? host.random.bytes(32) : openDecoyKey(data, host.random))
      },
    }
    this.#auditFile = config.audit?.file
    this.#file = config.audit && openAuditFile(config.audit.file, host)
    this.access.audit = this.#file && new Audit(this.#file, () => dateOf(host.clock.wall()).toISOString())
    this.#stopFlushing = host.clock.every(flushMs, () => this.access.audit?.flush())
    this.#use(config)
  }

  /** Whom to ask from now on. @returns who of those who are here may stay: see `reviewOf` */
  reload(next: Config): (identity: Identity) => Identity | undefined {
    this.#reopen(next)
    const judge = reviewOf(this.#auth, next.auth, this.#host.rehashed)
    const old = this.#logIns
    this.#use(next)
    old?.close()
    return judge
  }

  /** Somebody with the admin token has asked for a change. */
  administered(action: string, remote: string): void {
    this.access.audit?.write({ event: 'administration', party: { remote }, action })
  }

  async close(): Promise<void> {
    this.#logIns?.close()
    this.#stopFlushing()
    this.access.audit?.flush()
    await this.#file?.close()
    await this.#hasher.close()
  }

  #reopen({ audit }: Config): void {
    const { log } = this.#host
    if (audit?.file !== this.#auditFile)
      return log.warn({ audit }, 'the audit log has another place; that takes effect at the next start')
    try {
      this.#file?.reopen()
    } catch (fault) {
      log.error({ err: (fault as Error).message }, 'the audit log cannot be opened again; the old file is written on')
    }
  }

  #use({ auth }: Config): void {
    this.#auth = auth
    this.#logIns = this.access.logIns = auth && openLogIns(auth, this.#host)
  }
}

/** @throws AuditError */
function openAuditFile(file: string, { log }: Host): AuditFile {
  try {
    return new AuditFile(file, log)
  } catch (fault) {
    throw new AuditError(`cannot write the audit log ${file}: ${(fault as Error).message}`, { cause: fault })
  }
}
