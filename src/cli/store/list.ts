import { unpackGrant } from '../../routing/delivery.ts'
import type { Message } from '../../mqtt/message.ts'
import type { OfflineQueue, OfflineSession, OfflineStore } from '../../store/offline.ts'
import { Entry } from '../../store/port.ts'
import { type Io, note } from '../io.ts'
import type { ListFlags } from '../store.ts'
import { inert } from '../terminal.ts'
import { damageText, plainDamage } from './damages.ts'
import { figuresOf, indexFigures, sum } from './figures.ts'
import { filesIn, withStore } from './open.ts'
import { bytesText, cell, countText, many, ownerText, table, timeOf } from './text.ts'

/** Version of the JSON's fields. */
const schemaVersion = 1

/** Shows the sessions and retained messages of a data directory. @returns whether no damage has been come by */
export async function list(directory: string, flags: ListFlags, io: Io): Promise<boolean> {
  const { json = false, limit = json ? Infinity : 100 } = flags
  const showsRetained = flags.retained ?? false
  const showsSessions = flags.sessions ?? !showsRetained
  const read = await withStore(directory, (opened) => {
    const { store, indexDamage, folder } = opened
    const log = filesIn(folder, 'log')
    return {
      summary: {
        directory: opened.path,
        log: { segments: log.length, bytes: sum(log, ({ bytes }) => bytes) },
        index: indexFigures(opened),
        ...figuresOf(store),
      },
      sessions: showsSessions ? [...store.sessions.values()].slice(0, limit) : undefined,
      retained: showsRetained ? [...store.retained.values()].slice(0, limit) : undefined,
      lastMs: store.lastMs,
      aheadMs: store.aheadMs,
      damage: [...indexDamage, ...store.damage].map(plainDamage),
    }
  })
  const { summary, damage } = read
  const sessions = read.sessions?.map((session) => sessionRow(session, read))
  const retained = read.retained?.map((message) => retainedRow(message, read.aheadMs))
  if (json) {
    const { sessions: sessionCount, ...figures } = summary
    const listed = { ...(sessions && { sessions }), ...(retained && { retainedMessages: retained }) }
    io.stdout.write(`${JSON.stringify({ schemaVersion, ...figures, sessionCount, ...listed, damage })}\n`)
    return damage.length === 0
  }
  const { log, index, queued } = summary
  const files = `log ${bytesText(log.bytes)} in ${many(log.segments, 'segment')}, index ${bytesText(index.bytes)}`
  io.stdout.write(
    `${inert(summary.directory)}: ${files}\n` +
      `${many(summary.sessions, 'session')}, ${many(queued.messages, 'message')} queued (${bytesText(queued.bytes)}), ` +
      `${countText(summary.retained.messages)} retained (${bytesText(summary.retained.bytes)})\n`,
  )
  if (sessions && sessions.length > 0) io.stdout.write(`\n${sessionTable(sessions)}`)
  if (sessions) io.stdout.write(more(summary.sessions - sessions.length, 'session'))
  if (retained && retained.length > 0) io.stdout.write(`\n${retainedTable(retained)}`)
  if (retained) io.stdout.write(more(summary.retained.messages - retained.length, 'retained message'))
  if (damage.length > 0) note(io, `\n${damageText(damage)}\ngodwit store verify reads all of it`)
  return damage.length === 0
}

type SessionRow = ReturnType<typeof sessionRow>
type RetainedRow = ReturnType<typeof retainedRow>

/** When the broker was last heard of: who was connected has left then. And by how much the wall clock is ahead of the store's time. */
type Times = Pick<OfflineStore, 'lastMs' | 'aheadMs'>

function sessionRow({ head, subscriptions, incoming, queue }: OfflineSession, { lastMs, aheadMs }: Times) {
  const { number, clientId, epoch, username, online, expirySeconds, endDueStoreMs, will, willDueStoreMs } = head
  return {
    clientId,
    number,
    epoch,
    ...(username !== undefined && { username }),
    /** When the broker ended. */
    connected: online,
    // JSON has no Infinity.
    expirySeconds: Number.isFinite(expirySeconds) ? expirySeconds : null,
    ends: timeOf((online ? lastMs + expirySeconds * 1000 : endDueStoreMs) + aheadMs),
    subscriptions: Array.from(subscriptions, ([filter, grant]) => ({ filter, ...unpackGrant(grant) })),
    queued: { messages: queue.messages, bytes: queue.bytes, ...inFlight(queue) },
    incoming: [...incoming],
    ...(will && {
      will: {
        topic: will.topic,
        qos: will.qos,
        retain: will.retain,
        bytes: will.payload.length,
        due: timeOf((online ? lastMs + Math.min(will.delaySeconds, expirySeconds) * 1000 : willDueStoreMs) + aheadMs),
      },
    }),
  }
}

/** What was sent and awaits PUBACK or PUBREC is not kept; what awaits PUBCOMP is. */
function inFlight({ places }: OfflineQueue): { released: number } {
  let released = 0
  for (let seq = places.head; seq < places.next; seq++)
    if ((places.entryOf(seq) & Entry.stateBits) === Entry.released) released++
  return { released }
}

function retainedRow(message: Message, aheadMs: number) {
  const { topic, qos, payloadLength, expiresAtMs } = message
  return { topic: topic.name, qos, bytes: payloadLength, expires: timeOf(expiresAtMs + aheadMs) }
}

/** Filters that a row of the table has room for. */
const fewFilters = 3

function sessionTable(sessions: readonly SessionRow[]): string {
  const rows = sessions.map(({ clientId, epoch, connected, ends, subscriptions, queued, incoming, will }) => [
    cell(ownerText(clientId)),
    String(epoch),
    connected ? 'yes' : 'no',
    ends ?? 'never',
    countText(queued.messages),
    bytesText(queued.bytes),
    countText(incoming.length),
    will ? cell(will.topic) : '-',
    filtersText(subscriptions.map(({ filter }) => filter)),
  ])
  const heads = ['CLIENT', 'EPOCH', 'CONNECTED', 'ENDS', 'QUEUED', 'BYTES', 'QOS 2', 'WILL', 'SUBSCRIPTIONS']
  return table([heads, ...rows], new Set([1, 4, 5, 6]))
}

function filtersText(filters: readonly string[]): string {
  const shown = filters.slice(0, fewFilters).map(cell).join(' ')
  return filters.length > fewFilters ? `${shown} and ${countText(filters.length - fewFilters)} more` : shown || '-'
}

function retainedTable(retained: readonly RetainedRow[]): string {
  const rows = retained.map(({ topic, qos, bytes, expires }) => [
    cell(topic),
    String(qos),
    bytesText(bytes),
    expires ?? 'never',
  ])
  return table([['TOPIC', 'QOS', 'BYTES', 'EXPIRES'], ...rows], new Set([1, 2]))
}

function more(count: number, what: string): string {
  return count > 0 ? `and ${many(count, `more ${what}`, `more ${what}s`)}; --limit shows them\n` : ''
}
