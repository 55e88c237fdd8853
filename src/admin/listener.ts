import type { Log } from '../host.ts'
import { announceAdmin, openToken, tokenFileOf, withdrawAdmin } from '../platform/admin-files.ts'
import { openHttp, type OpenHttp, sameSecret } from '../platform/http.ts'
import { AdminApi, type ApiOptions, bodyBytes, errorAnswer } from './api.ts'
import type { ClusterControl } from './control.ts'

export interface AdminOptions {
  readonly host: string
  readonly port: number
  /** Nobody has named this port: another will do when it is taken. */
  readonly chosen: boolean
  /** Undefined: `admin-token` in the data folder. */
  readonly tokenFile: string | undefined
  /** Undefined: nothing is kept on disk. Then there must be a token file. */
  readonly data: string | undefined
  readonly control: ClusterControl
  readonly tenants: ApiOptions['tenants']
  readonly refusals: ApiOptions['refusals']
  readonly audited: ApiOptions['audited']
  readonly log: Log
}

export interface OpenAdmin {
  readonly url: string
  /** Takes nobody new, and finishes what it has been asked. */
  close(): Promise<void>
}

/**
 * Opens the admin listener, and leaves word of it in the data folder.
 * @throws AdminTokenError, or the system's error, with `code`, when it cannot listen
 */
export async function openAdmin(options: AdminOptions): Promise<OpenAdmin> {
  const { host, data, control, tenants, refusals, audited, log } = options
  const token = openToken(options.tokenFile ?? tokenFileOf(data!))
  const api = new AdminApi({ control, tenants, refusals, token, sameSecret, host, audited, log })
  const listen = (port: number): Promise<OpenHttp> =>
    openHttp({
      host,
      port,
      bodyBytes,
      requestSeconds: 10,
      connections: 64,
      log,
      answer: (request) => api.answer(request),
      malformed: (status, reason) => errorAnswer(status, 'malformed', reason),
    })
  const server = await listen(options.port).catch((fault: unknown) => {
    if (options.chosen || (fault as { code?: string }).code !== 'EADDRINUSE') throw fault
    return listen(0)
  })
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${server.port}`
  const isFound = data !== undefined && announce(data, url, log)
  return {
    url,
    close() {
      if (isFound) withdrawAdmin(data)
      return server.close(graceMs)
    },
  }
}

/** A full disk keeps nobody from being served: only who asks for the node by its data folder does not find it. */
function announce(data: string, url: string, log: Log): boolean {
  try {
    announceAdmin(data, url)
    return true
  } catch (err) {
    log.warn(
      { err, url },
      'the admin listener could not be noted in the data folder: godwit needs --admin and --token-file',
    )
    return false
  }
}

/** For an answer that is on its way when the node ends. */
const graceMs = 1000
