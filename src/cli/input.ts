import type { Readable } from 'node:stream'
import { CliError, Exit } from './io.ts'

/** The largest payload that a PUBLISH could carry, and so the longest line that makes sense. */
const longest = 268_435_455

/**
 * Splits a stream at its newlines, as bytes: what is between them is nobody's business here, not even if it is no UTF-8.
 * Lines come in batches, one for each chunk, so that a caller can work through a batch without waiting in between.
 * The last line needs no newline.
 */
export async function* lineBatches(input: Readable): AsyncGenerator<readonly Buffer[]> {
  let begun: Buffer[] = []
  let begunBytes = 0
  for await (const chunk of input as AsyncIterable<Buffer | string>) {
    const bytes = Buffer.from(chunk as Buffer)
    const batch: Buffer[] = []
    let start = 0
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      const line = bytes.subarray(start, end)
      batch.push(begun.length === 0 ? line : Buffer.concat([...begun, line]))
      begun = []
      begunBytes = 0
      start = end + 1
    }
    if (start < bytes.length) {
      begun.push(bytes.subarray(start))
      begunBytes += bytes.length - start
      if (begunBytes > longest) throw tooLong('a line of stdin')
    }
    if (batch.length > 0) yield batch
  }
  if (begun.length > 0) yield [Buffer.concat(begun)]
}

/** All of a stream. */
export async function wholeInput(input: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of input as AsyncIterable<Buffer | string>) {
    chunks.push(Buffer.from(chunk as Buffer))
    bytes += chunk.length
    if (bytes > longest) throw tooLong('stdin')
  }
  return Buffer.concat(chunks)
}

function tooLong(what: string): CliError {
  return new CliError(Exit.failure, `${what} is longer than an MQTT message can be (${longest} bytes)`)
}
