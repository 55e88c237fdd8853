import { loadConfig, type Config } from '../../src/config/config.ts'
import type { MemoryThere } from '../../src/config/memory.ts'
import type { Environment, Flags } from '../../src/config/overrides.ts'
import { ConfigError } from '../../src/config/problem.ts'

export const pems: Record<string, string> = {
  'etc/server.pem': '-----BEGIN CERTIFICATE-----\nours\n',
  'etc/server.key': '-----BEGIN PRIVATE KEY-----\nours\n',
  '/ca.pem': '-----BEGIN CERTIFICATE-----\ntheirs\n',
  '/ca.crl': '-----BEGIN X509 CRL-----\ntheirs\n',
}

export interface Given {
  flags?: Flags
  env?: Environment
  /** Of the machine. */
  memory?: MemoryThere
  /** Text of `etc/godwit.yaml`, which `--config` names unless `flags` or `env` do. */
  file?: string
}

export function load({ flags = {}, env = {}, file, memory }: Given): Config {
  const named = file !== undefined && flags.config === undefined && env['GODWIT_CONFIG'] === undefined
  return loadConfig({
    flags: named ? { ...flags, config: 'etc/godwit.yaml' } : flags,
    env,
    ...(memory && { memory }),
    readFile: (path) => {
      const text = path === 'etc/godwit.yaml' ? file : pems[path]
      if (text === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' })
      return text
    },
  })
}

/** What a person sees when the configuration is refused. */
export function complaint(given: Given): string {
  try {
    load(given)
  } catch (fault) {
    if (fault instanceof ConfigError) return fault.message
    throw fault
  }
  return 'no complaint'
}
