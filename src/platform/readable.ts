import { Readable } from 'node:stream'

/** A stream of objects, as libraries that speak Node's streams want it. Ends, or fails, as `items` does. */
export function readable(items: Iterable<unknown> | AsyncIterable<unknown>): Readable {
  return Readable.from(items)
}
