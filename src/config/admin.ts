import type { ParsedFile, Place } from './file.ts'
import { besideFile } from './files.ts'
import { hostPortText, type HostPort } from './host-port.ts'
import { isLoopback } from './listener.ts'
import type { Overrides } from './overrides.ts'
import type { Problem } from './problem.ts'

/** The admin listener: HTTP and JSON, for whoever has the token. */
export interface AdminConfig extends HostPort {
  /** Somebody has named this address. Nobody has: another port will do when this one is taken. */
  readonly chosen: boolean
  /** Undefined: `admin-token` in the data folder. */
  readonly tokenFile: string | undefined
}

const defaultAddress: HostPort = { host: '127.0.0.1', port: 18_083 }

interface Given {
  readonly flags: Overrides['admin']
  readonly env: Overrides['admin']
  readonly file: ParsedFile | undefined
  readonly allowPublic: boolean
  /** Is there a data folder for the token? */
  readonly onDisk: boolean
  /** Open it, although nobody has asked for it? */
  readonly byDefault: boolean
}

/** @returns undefined when there is to be none. What is wrong goes to `problems`. */
export function adminListener(given: Given, problems: Problem[]): AdminConfig | undefined {
  const { flags, env, file, allowPublic, onDisk, byDefault } = given
  const inFile = file?.values.admin
  const tokenFile =
    env.tokenFile ?? (file && inFile?.tokenFile !== undefined ? besideFile(file.source, inFile.tokenFile) : undefined)
  const address = flags.listen ?? env.listen ?? inFile?.listen
  if (address === 'off') return undefined
  const keepsToken = onDisk || tokenFile !== undefined
  if (address === undefined)
    return byDefault && keepsToken ? { ...defaultAddress, chosen: false, tokenFile } : undefined
  const place = placeOf(given)
  if (!keepsToken)
    problems.push({
      ...place,
      message:
        'its token has no place to be, as nothing is kept on disk: name a file with GODWIT_ADMIN_TOKEN_FILE or admin.tokenFile',
    })
  if (!allowPublic && !isLoopback(address.host))
    problems.push({
      ...place,
      message: `${hostPortText(address)} is open to other machines, and the token would cross the network unencrypted. To open it all the same: --allow-public, GODWIT_ALLOW_PUBLIC=true or allowPublic: true`,
    })
  return { ...address, chosen: true, tokenFile }
}

function placeOf({ flags, env, file }: Given): Place {
  if (flags.listen !== undefined) return { source: '--admin' }
  if (env.listen !== undefined) return { source: 'GODWIT_ADMIN_LISTEN' }
  return file!.where(['admin', 'listen'])
}
