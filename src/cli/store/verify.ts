import { audit } from '../../store/audit.ts'
import type { Io } from '../io.ts'
import { inert } from '../terminal.ts'
import { damageText, type PlainDamage, plainDamage } from './damages.ts'
import { figuresOf, indexFigures, type StoreFigures, sum } from './figures.ts'
import { filesIn, withStore } from './open.ts'
import { bytesText, countText, many, table, timeOf } from './text.ts'

/** Version of the JSON's fields. */
const schemaVersion = 1

interface Report extends StoreFigures {
  readonly directory: string
  /** When something was last written; null: nothing was. */
  readonly lastHeardOf: string | null
  readonly format: number
  readonly storeId: number
  readonly log: {
    readonly segments: number
    readonly bytes: number
    readonly frames: number
    /** By type. */
    readonly records: ReadonlyMap<string, number>
    /** What a start reads again. */
    readonly replayBytes: number
    /** What a write that was cut short has left. */
    readonly tornBytes: number
  }
  readonly index: { readonly bytes: number; readonly entries: number }
  readonly quarantine: readonly { readonly name: string; readonly bytes: number }[]
  readonly damage: readonly PlainDamage[]
}

/** Reads all of a data directory, and tells what is in it. @returns whether nothing is damaged */
export async function verify(directory: string, json: boolean, io: Io): Promise<boolean> {
  const report = await withStore(directory, (opened): Report => {
    const { path, folder, store, indexDamage } = opened
    const { segments, records, damage } = audit(store)
    return {
      directory: path,
      lastHeardOf: timeOf(store.lastMs + store.aheadMs),
      format: folder.format,
      storeId: folder.storeId,
      log: {
        segments: segments.length,
        bytes: sum(segments, ({ bytes }) => bytes),
        frames: sum(segments, ({ frames }) => frames),
        records,
        replayBytes: store.replayBytes,
        tornBytes: store.tornBytes,
      },
      index: indexFigures(opened),
      ...figuresOf(store),
      quarantine: filesIn(folder, 'quarantine'),
      damage: [...indexDamage, ...damage].map(plainDamage),
    }
  })
  const sound = report.damage.length === 0
  io.stdout.write(json ? asJson(report, sound) : asText(report, sound))
  return sound
}

function asJson({ log, ...report }: Report, sound: boolean): string {
  const plain = { ...log, records: Object.fromEntries(log.records) }
  return `${JSON.stringify({ schemaVersion, sound, ...report, log: plain })}\n`
}

function asText(
  { directory, format, storeId, log, index, sessions, queued, retained, ...rest }: Report,
  sound: boolean,
): string {
  const { lastHeardOf, quarantine, damage } = rest
  const records = [...log.records].map(([type, count]) => `${countText(count)} ${type}`)
  const id = storeId.toString(16).padStart(8, '0')
  const rows = [
    ['last heard of', lastHeardOf ?? 'never'],
    ['log', `${many(log.segments, 'segment')}, ${bytesText(log.bytes)}, ${many(log.frames, 'frame')}`],
    ['records', records.join(', ') || 'none'],
    ['to replay', bytesText(log.replayBytes)],
    ['index', `${many(index.entries, 'entry', 'entries')}, ${bytesText(index.bytes)}`],
    ['sessions', countText(sessions)],
    ['queued', `${many(queued.messages, 'message')}, ${bytesText(queued.bytes)}`],
    ['retained', `${many(retained.messages, 'message')}, ${bytesText(retained.bytes)}`],
  ]
  if (log.tornBytes > 0)
    rows.push(['torn end', `${bytesText(log.tornBytes)} of a write that was cut short, promised to nobody: no damage`])
  for (const { name, bytes } of quarantine) rows.push(['set aside', `${inert(name)}, ${bytesText(bytes)}`])
  const figures = table(rows.map(([name, text]) => [`  ${name}`, text!]))
  const verdict = sound ? 'nothing is damaged\n' : damageText(damage)
  return `${inert(directory)}: format ${format}, store ${id}\n\n${figures}\n${verdict}`
}
