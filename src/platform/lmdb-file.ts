import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/** An index that is not as LMDB writes it. */
export class DamagedIndexError extends Error {
  override readonly name = 'DamagedIndexError'
}

/**
 * Looks at the head of LMDB's file before LMDB does, which dies of a bad one (SIGSEGV, SIGBUS) and takes the broker along.
 *
 *   page header (24: flags at 18) · MDB_meta                                    twice, for even and odd transactions
 *                                   magic 24 · version 28 · page size 48 · roots of free list and data 88, 136 · txn 152
 *
 * It finds a file that is not an index, a head that was overwritten, and an end that is missing. LMDB has no checksums:
 * damage further inside is not found.
 *
 * @throws DamagedIndexError, or the system's error
 */
export function checkIndexFile(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    const { size } = fstatSync(descriptor)
    const meta = Buffer.alloc(metaBytes)
    const first = readMeta(descriptor, meta, 0)
    const second = readMeta(descriptor, meta, first.pageBytes)
    if (second.pageBytes !== first.pageBytes) throw new DamagedIndexError('its two heads are not of one file')
    const { roots, pageBytes } = first.transaction > second.transaction ? first : second
    const missing = roots.find((root) => root !== noPage && (Number(root) + 1) * pageBytes > size)
    if (missing !== undefined) throw new DamagedIndexError(`its end is missing: no page ${missing} in ${size} bytes`)
  } finally {
    closeSync(descriptor)
  }
}

const metaBytes = 160
const metaFlag = 8
const magic = 0xbeefc0de
/** What grew out of LMDB 0.9; the bits above belong to lmdb-js. */
const version = 2
const noPage = 0xffff_ffff_ffff_ffffn

function readMeta(descriptor: number, meta: Buffer, position: number) {
  const count = readSync(descriptor, meta, 0, metaBytes, position)
  const pageBytes = meta.readUInt32LE(48)
  const valid =
    count === metaBytes &&
    (meta.readUInt16LE(18) & metaFlag) !== 0 &&
    meta.readUInt32LE(24) === magic &&
    meta.readUInt16LE(28) === version &&
    pageBytes >= 512 &&
    pageBytes <= 65_536
  if (!valid) throw new DamagedIndexError(`no head of an index at ${position}`)
  const roots = [meta.readBigUInt64LE(88), meta.readBigUInt64LE(136)]
  return { pageBytes, roots, transaction: meta.readBigUInt64LE(152) }
}
