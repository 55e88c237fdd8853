import { describe, expect, test } from 'vitest'
import { Audit, type AuditEvent } from '../../src/access/audit.ts'

class Sink {
  readonly lines: string[] = []
  room = true
  write(line: string): boolean {
    if (this.room) this.lines.push(line)
    return this.room
  }
}
const time = '2026-11-21T08:00:00.000Z'
const party = { clientId: 'c1', user: 'anna', remote: '192.0.2.7:4711', protocol: 'tls' }

function lineOf(event: AuditEvent): string {
  const sink = new Sink()
  new Audit(sink, () => time).write(event)
  return sink.lines.join('')
}

describe('a line for each', () => {
  const who = `"client":"c1","user":"anna","remote":"192.0.2.7:4711","protocol":"tls"`
  for (const [event, wanted] of [
    [{ event: 'log-in', party, by: 'jwt' }, `{"time":"${time}","event":"log-in",${who},"by":"jwt"}\n`],
    [
      { event: 'log-in-denied', party, by: undefined, why: 'unknown user' },
      `{"time":"${time}","event":"log-in-denied",${who},"why":"unknown user"}\n`,
    ],
    [
      { event: 'refused', party, action: 'publish', topic: 'a/b', why: 'rule 3' },
      `{"time":"${time}","event":"refused",${who},"action":"publish","topic":"a/b","why":"rule 3"}\n`,
    ],
    [
      { event: 'administration', party: { remote: 'cli' }, action: 'evict', target: 'node b' },
      `{"time":"${time}","event":"administration","remote":"cli","action":"evict","target":"node b"}\n`,
    ],
  ] as const)
    test(event.event, () => expect(lineOf(event)).toBe(wanted))
})

describe('row 9: whatever a client is called, it is one line, and inert', () => {
  for (const name of [
    'a\r\nb',
    '"},{"event":"log-in',
    '\u001b[2J',
    '\u009b31m',
    '\u2028\u2029',
    'a\u202eb\u2066c\u200f\ufeff\u00ad',
    '\u007f\0',
    '\ud800',
    '__proto__',
    '<img onerror>',
    '\\',
  ])
    test(JSON.stringify(name), () => {
      const line = lineOf({ event: 'log-in', party: { clientId: name, user: name }, by: 'users' })
      expect(line.endsWith('}\n')).toBe(true)
      expect(line.slice(0, -1)).not.toMatch(/[^\x20-\x7e]/)
      expect(JSON.parse(line)).toMatchObject({ event: 'log-in', client: name, user: name })
    })

  test('ordinary names are shown as they are', () => {
    expect(lineOf({ event: 'log-in', party: { user: 'ünï 日本 🚀' }, by: 'users' })).toContain('"ünï 日本 🚀"')
  })

  test('long ones are cut', () => {
    const line = lineOf({ event: 'refused', party, action: 'publish', topic: 'x'.repeat(65_535), why: 'no rule' })
    expect(line.length).toBeLessThan(600)
    expect(line).toContain('… (65535 characters)')
  })
})

test('lines that are lost are counted, and the next line says how many', () => {
  const sink = new Sink()
  const audit = new Audit(sink, () => time)
  const event = { event: 'log-in', party, by: 'users' } as const
  sink.room = false
  audit.write(event)
  audit.write(event)
  sink.room = true
  audit.write(event)
  audit.write(event)
  expect(audit.lost).toBe(2)
  expect(sink.lines.map((line) => (JSON.parse(line) as { lostBefore?: number }).lostBefore)).toEqual([2, undefined])
})

test('a flood of refusals is a line for each kind, and one that counts', () => {
  const sink = new Sink()
  const audit = new Audit(sink, () => time)
  const refuse = (kind: string, topic: string) =>
    audit.refused(kind, () => ({
      event: 'refused',
      party: { clientId: kind },
      action: 'publish',
      topic,
      why: 'rule 3',
    }))
  const told = () => sink.lines.splice(0).map((line) => JSON.parse(line) as Record<string, unknown>)
  for (let at = 0; at < 10_000; at++) refuse('c1', `t/${at}`)
  refuse('c2', 'u')
  expect(told()).toMatchObject([
    { client: 'c1', topic: 't/0' },
    { client: 'c2', topic: 'u' },
  ])
  audit.flush()
  expect(told()).toMatchObject([{ client: 'c1', more: 9999 }])
  audit.flush()
  expect(told()).toEqual([])
  for (let at = 0; at < 10_000; at++) refuse(`c${at}`, 't')
  expect(told().length).toBe(1000)
  audit.flush()
  expect(told()).toMatchObject([{ event: 'not-listed', more: 9000 }])
})
