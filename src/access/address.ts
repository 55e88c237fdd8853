/**
 * Who is behind an address, as far as limits go: an IPv4 address, or the /64 of an IPv6 one, of which anybody has as many
 * addresses as it likes. An IPv4 address that is written as IPv6 is the IPv4 address. What is no address is one neighbour
 * for all.
 */
export function neighbourOf(address: string): string {
  const v4 = parseV4(address)
  if (v4 !== undefined) return v4.join('.')
  const groups = parseV6(address)
  if (groups === undefined) return 'unknown'
  return (
    mappedV4(groups) ??
    `${groups
      .slice(0, 4)
      .map((group) => group.toString(16))
      .join(':')}::/64`
  )
}

/** Can only this machine have this address? */
export function isLoopbackAddress(address: string): boolean {
  const groups = parseV6(address)
  if (groups?.every((group, at) => group === (at === 7 ? 1 : 0))) return true
  const v4 = groups ? mappedV4(groups) : parseV4(address)?.join('.')
  return v4 !== undefined && v4.startsWith('127.')
}

/** Four numbers; undefined when it is no IPv4 address. */
export function parseV4(text: string): readonly number[] | undefined {
  const parts = text.split('.')
  if (text.length > 15 || parts.length !== 4) return undefined
  const numbers: number[] = []
  for (const part of parts) {
    // "010" is ten to some and eight to others.
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined
    numbers.push(Number(part))
  }
  return numbers
}

/** Eight groups; undefined when it is no IPv6 address (RFC 4291, 2.2). A zone is left out. */
export function parseV6(text: string): readonly number[] | undefined {
  // Longest: six groups and an IPv4 address; and a zone is a name of an interface.
  if (text.length > 45 + 1 + 64) return undefined
  const zone = text.indexOf('%')
  const bare = zone < 0 ? text : text.slice(0, zone)
  const halves = bare.split('::')
  if (halves.length > 2) return undefined
  const [head, tail] = halves.map((half, at) => groupsOf(half, at === halves.length - 1))
  if (head === undefined) return undefined
  if (halves.length === 1) return head.length === 8 ? head : undefined
  // "::" stands for one group of zeros at least.
  if (tail === undefined || head.length + tail.length > 7) return undefined
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail]
}

function groupsOf(half: string, last: boolean): number[] | undefined {
  if (half === '') return []
  const groups: number[] = []
  const parts = half.split(':')
  for (const [at, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) groups.push(parseInt(part, 16))
    else {
      // An IPv4 address may stand for the last two groups.
      const v4 = last && at === parts.length - 1 ? parseV4(part) : undefined
      if (v4 === undefined) return undefined
      groups.push(v4[0]! * 256 + v4[1]!, v4[2]! * 256 + v4[3]!)
    }
  }
  return groups
}

/** `::ffff:1.2.3.4` is 1.2.3.4 (RFC 4291, 2.5.5.2). */
function mappedV4(groups: readonly number[]): string | undefined {
  if (groups[5] !== 0xffff || groups.slice(0, 5).some((group) => group !== 0)) return undefined
  const [high, low] = [groups[6]!, groups[7]!]
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}
