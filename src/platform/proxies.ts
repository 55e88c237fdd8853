import { BlockList, isIP, isIPv6, type Socket } from 'node:net'
import type { Source } from './lobby.ts'
import { ProxyHeader } from './proxy-header.ts'

/** Peers that are believed when they say for whom they speak: addresses and networks (`10.0.0.0/8`). */
export class Proxies {
  readonly #list = new BlockList()

  /** @throws when one is neither */
  constructor(entries: readonly string[]) {
    for (const entry of entries) {
      const [address = '', bits] = entry.split('/')
      const family = isIPv6(address) ? 'ipv6' : 'ipv4'
      if (bits === undefined) this.#list.addAddress(address, family)
      else this.#list.addSubnet(address, Number(bits), family)
    }
  }

  has(address: string): boolean {
    return this.#list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  }

  /**
   * For whom a proxy speaks by `X-Forwarded-For`: the last one that is no proxy of ours, as anybody may have written what stands
   * before it. Undefined when that is no address.
   */
  forwardedFor(header: string | undefined): Source | undefined {
    const hops = (header ?? '').split(',').map(addressIn).reverse()
    const at = hops.findIndex((address) => address === undefined || !this.has(address))
    const client = hops.at(at)
    return client === undefined ? undefined : { address: client, port: 0 }
  }
}

/** `192.0.2.1`, `192.0.2.1:50000`, `2001:db8::1`, `[2001:db8::1]:50000`. */
function addressIn(hop: string): string | undefined {
  const text = hop.trim()
  const bare = /^\[(.*)\](?::\d+)?$/.exec(text)?.[1] ?? (isIP(text) ? text : text.replace(/:\d+$/, ''))
  return isIP(bare) && !bare.includes('%') ? bare : undefined
}

/** What a listed proxy has sent first. */
export type Introduction =
  | { readonly kind: 'told'; readonly source: Source | undefined }
  | { readonly kind: 'fault'; readonly why: string }
  /** No PROXY header, where one need not be. */
  | { readonly kind: 'none' }

/**
 * Reads the PROXY header in front of what a listed proxy sends. Afterwards the socket is paused, and whatever stands behind the
 * header is read from it as if nothing had been there.
 * @param optional HTTP may come instead
 */
export function readIntroduction(socket: Socket, optional: boolean, then: (said: Introduction) => void): void {
  const header = new ProxyHeader()
  let begun = false
  const done = (said: Introduction, rest: Uint8Array): void => {
    socket.off('data', take).pause()
    if (rest.length > 0) socket.unshift(rest)
    then(said)
  }
  const take = (chunk: Buffer): void => {
    if (!begun && optional && chunk[0] !== 0x50 && chunk[0] !== 0x0d) return done({ kind: 'none' }, chunk)
    begun = true
    const reading = header.receive(chunk)
    if (reading.kind === 'read') done({ kind: 'told', source: reading.source }, reading.rest)
    else if (reading.kind === 'fault') done(reading, new Uint8Array(0))
  }
  socket.on('data', take)
}
