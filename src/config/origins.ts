import { isLoopback, type Listener } from './listener.ts'

export const originShape = 'must be an origin like https://app.example.com, null, or *'

/** `https://app.example.com`, as a browser says it: nothing behind the host and port, and no port that goes without saying. */
export function isOrigin(text: string): boolean {
  return text === '*' || text === 'null' || (URL.canParse(text) && new URL(text).origin === text)
}

/**
 * May a page of this origin open a WebSocket? Without a list: those of the host that the request names, and where only this
 * machine can come, those of this machine; for any page may be given the name of the host, and none that of localhost. Who
 * sends no origin is no page.
 */
export function welcomesOrigin(
  { origins, host }: Pick<Listener, 'origins' | 'host'>,
  origin: string,
  requested: string | undefined,
): boolean {
  if (origins) return origins.includes('*') || origins.includes(origin)
  const page = hostOf(origin)
  if (page === undefined) return false
  return isLoopback(host) ? isLoopback(page) : page === hostOf(`http://${requested ?? ''}`)
}

/** Without its port, and without brackets. */
function hostOf(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined
  const { hostname } = new URL(url)
  return hostname === '' ? undefined : hostname.replace(/^\[|\]$/g, '')
}
