import { MqttError } from '../mqtt/reason.ts'
import { parseFilter, type TopicTable } from '../mqtt/topic.ts'
import {
  headPart,
  longRetainedPrefix,
  metaKey,
  parseSessionKey,
  queuePart,
  readChunk,
  readMeta,
  readQueue,
  readSession,
  retainedPrefix,
  sessionPrefix,
} from './image.ts'
import { MessageReader } from './message-record.ts'
import { CorruptRecordError, RecordReader } from './writer.ts'

type IndexEntry = readonly [key: string, value: Uint8Array]

/**
 * Passes on the entries of an index that make sense, each read to its last field; of a session whose head does not, none.
 * @param wrong hears of each that is left out
 */
export function* soundEntries(
  entries: Iterable<IndexEntry>,
  topics: TopicTable,
  wrong: (key: string, what: string) => void,
): Generator<IndexEntry> {
  const reader = new RecordReader()
  const message = new MessageReader()
  let session = 0
  const check = (key: string, value: Uint8Array): void => {
    reader.over(value, 0, value.length)
    if (key === metaKey) readMeta(reader)
    else if (key.startsWith(sessionPrefix)) {
      const { number, chunk } = parseSessionKey(key)
      if (chunk === headPart) session = checkSession(number, reader)
      else if (number !== session) throw new CorruptRecordError('its session is not there')
      else if (chunk === queuePart) checkQueue(reader)
      else readChunk(reader, () => undefined)
    } else if (key.startsWith(retainedPrefix) || key.startsWith(longRetainedPrefix))
      message.overBody(value, 0, value.length).topic(topics)
    else throw new CorruptRecordError('no key of the index looks like this')
  }
  for (const entry of entries) {
    const fault = faultOf(() => check(entry[0], entry[1]))
    if (fault === undefined) yield entry
    else wrong(entry[0], fault)
  }
}

/** What `read` finds wrong with what it reads; undefined: nothing. Other errors pass. */
export function faultOf(read: () => void): string | undefined {
  try {
    read()
    return undefined
  } catch (fault) {
    if (fault instanceof CorruptRecordError || fault instanceof MqttError) return fault.message
    throw fault
  }
}

/** A subscription as the client wrote it. @throws CorruptRecordError */
export function checkFilter(filter: string): void {
  const fault = faultOf(() => parseFilter(filter))
  if (fault !== undefined) throw new CorruptRecordError(`a subscription is none: ${fault}`)
}

function checkQueue(reader: RecordReader): void {
  const { head, next } = readQueue(reader)
  if (next < head || next - head > mostPlaces) throw new CorruptRecordError(`no queue goes from ${head} to ${next}`)
}

/** No queue is that long: its arrays would not fit into memory. */
const mostPlaces = 2 ** 30

function checkSession(number: number, reader: RecordReader): number {
  const { head, subscriptions } = readSession(reader)
  if (head.number !== number) throw new CorruptRecordError(`session ${head.number} stands there`)
  for (const filter of subscriptions.keys()) checkFilter(filter)
  return number
}
