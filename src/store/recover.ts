import type { Message } from '../mqtt/message.ts'
import type { DiskStoreOptions } from './disk-options.ts'
import { CommitLog } from './log.ts'
import type { Lsn, Recovered, RecoveredSession } from './port.ts'
import { RecordType, writeHead } from './records.ts'
import { Restore, type Restored } from './restore.ts'
import { StoreTime } from './store-time.ts'
import { Tracks } from './tracks.ts'

/** What an open store starts with. */
export interface Opened {
  readonly log: CommitLog
  readonly restore: Restore
  readonly tracks: Tracks
  readonly time: StoreTime
  readonly recovered: Recovered
}

const MiB = 1024 * 1024

/**
 * Reads the index, replays the log behind it, and opens the log for appending. Blocks.
 * @throws StoreFormatError, LogFormatError, DiskFault
 */
export function recover(options: DiskStoreOptions): Opened {
  const time = new StoreTime(options.clock)
  const restore = new Restore(options.topics, options.segmentBytes ?? 64 * MiB, options.log, options.places)
  restore.load(options.index.entries())
  const log = CommitLog.open({ ...options, time }, restore.replayFrom, restore.floor, restore)
  restore.finish()
  time.resume(restore.lastMs, restore.aheadMs)
  const { offsetMs } = time
  const diedMs = restore.lastMs - offsetMs
  const tracks = new Tracks()
  const isThere = presence(log)
  for (const restored of restore.sessions.values()) {
    restored.queue.sift((_, lsn) => {
      const there = isThere(lsn)
      if (there) log.hold(lsn)
      else restore.losses.missing(lsn, restored.head.clientId)
      return there
    })
    track(restored, tracks)
    if (!restored.head.online) continue
    // From here on the log speaks of another process: that this one was over by then must stand there.
    const left = sessionOf(restored, diedMs, offsetMs)
    tracks.head(left)
    writeHead(log.begin(RecordType.session), left, offsetMs)
    log.end(true)
  }
  for (const ended of restore.ended) tracks.soil(ended)
  tracks.dirtyTopics = restore.dirtyTopics
  restore.losses.report()
  const sessions = handOver(restore.sessions, diedMs, offsetMs)
  return { log, restore, tracks, time, recovered: { sessions, retained: retainedOf(restore, offsetMs) } }
}

/** What is retained, with its expiries by the clock of this process. */
function retainedOf({ retained, tombstones }: Restore, offsetMs: number): Message[] {
  const all = [...retained.values(), ...tombstones.values()]
  for (const [at, message] of all.entries())
    if (message.expiresAtMs !== Infinity) all[at] = message.expiring(message.expiresAtMs - offsetMs)
  return all
}

/** There may be a hundred thousand: nobody has all of them twice. */
function* handOver(
  sessions: Map<number, Restored>,
  diedMs: number,
  offsetMs: number,
): Generator<RecoveredSession, void, void> {
  const left = [...sessions.values()].reverse()
  sessions.clear()
  for (let restored = left.pop(); restored; restored = left.pop()) yield sessionOf(restored, diedMs, offsetMs)
}

/** Is there a file for an lsn? */
function presence(log: CommitLog): (lsn: Lsn) => boolean {
  const segments = log.segments()
  let last = segments[0]
  return (lsn) => {
    if (last === undefined || lsn < last.first || lsn >= last.end)
      last = segments.find(({ first, end }) => lsn >= first && lsn < end)
    return last !== undefined
  }
}

/**
 * Who comes back. One that was connected when the process ended counts as disconnected at that time: from then on its expiry
 * and the delay of its will run (MQTT 5.0, 3.1.2.11.2 and 3.1.3.2.2).
 */
function sessionOf(restored: Restored, diedMs: number, offsetMs: number): RecoveredSession {
  const { head, subscriptions, incoming, queue } = restored
  const { number, clientId, epoch, expirySeconds, username, will, online } = head
  return {
    number,
    clientId,
    epoch,
    expirySeconds,
    username,
    will,
    endDueMs: online ? diedMs + expirySeconds * 1000 : head.endDueStoreMs - offsetMs,
    willDueMs: online
      ? will
        ? diedMs + Math.min(will.delaySeconds, expirySeconds) * 1000
        : Infinity
      : head.willDueStoreMs - offsetMs,
    online: false,
    subscriptions,
    incoming: [...incoming],
    queue,
  }
}

function track({ track, head, queue }: Restored, tracks: Tracks): void {
  track.online = head.online
  if (head.online) tracks.online++
  track.next = queue.next
  track.appendedFrom = queue.appendedFrom
  track.chunks = queue.chunks
  if (queue.chunks) track.queueChanged = true
  if (!track.indexed) track.headChanged = true
  if (track.headChanged || track.queueChanged) tracks.soil(track)
  tracks.add(track)
}
