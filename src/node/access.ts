import { PasswordCheck } from '../access/passwords.ts'
import type { Access } from '../broker/access.ts'
import type { Config } from '../config/config.ts'
import type { Bytes, Host, PasswordHasher } from '../host.ts'
import { openDecoyKey } from '../platform/decoy-key.ts'
import { digests } from '../platform/digests.ts'
import { type LogInHost, type LogIns, openLogIns } from './log-ins.ts'

/** Who computes hashes, on threads that must end. */
export interface OpenHasher extends PasswordHasher {
  close(): Promise<void>
}

/** Who may come in, and what of that outlives a reload. */
export class NodeAccess {
  /** What the broker reads. */
  readonly access: Access = { logIns: undefined, audit: undefined }
  readonly #host: LogInHost
  readonly #hasher: OpenHasher
  #logIns: LogIns | undefined

  /** @param data where secrets are kept that must outlive the process; undefined: nowhere. @throws ClusterIdentityError */
  constructor(config: Config, host: Host, hasher: OpenHasher, data: string | undefined) {
    this.#hasher = hasher
    let key: Bytes | undefined
    this.#host = {
      ...host,
      hasher,
      check: new PasswordCheck(hasher, digests, host.random),
      // Not before somebody needs it: most brokers never do.
      get decoyKey() {
        return (key ??= data === undefined ? host.random.bytes(32) : openDecoyKey(data, host.random))
      },
    }
    this.#use(config)
  }

  async close(): Promise<void> {
    this.#logIns?.close()
    await this.#hasher.close()
  }

  #use({ auth }: Config): void {
    this.#logIns = this.access.logIns = auth && openLogIns(auth, this.#host)
  }
}
