import { describe, expect, test } from 'vitest'
import type { MqttError } from '../../src/mqtt/reason.ts'
import { checkText, readText } from '../../src/mqtt/text.ts'
import { hex } from './line.ts'

/** The clause by which `read` refuses these bytes; undefined when it does not. */
function refusal(
  read: (bytes: Uint8Array, start: number, end: number) => unknown,
  bytes: Uint8Array,
): string | undefined {
  // Between others, so that nothing is read that does not belong to it.
  const around = Buffer.concat([hex('c3'), bytes, hex('a4')])
  try {
    read(around, 1, 1 + bytes.length)
    return undefined
  } catch (fault) {
    return (fault as MqttError).clause
  }
}

describe('bytes that are no UTF-8', () => {
  test.each<[name: string, bytes: string]>([
    ['a continuation alone', '80'],
    ['two continuations', '8080'],
    ['two bytes cut short', 'c3'],
    ['three bytes cut short', 'e282'],
    ['four bytes cut short', 'f09f90'],
    ['two bytes without continuation', 'c328'],
    ['three bytes, second wrong', 'e228a1'],
    ['three bytes, third wrong', 'e28228'],
    ['four bytes, second wrong', 'f0288cbc'],
    ['four bytes, last wrong', 'f09f9028'],
    ['overlong NUL', 'c080'],
    ['overlong slash', 'c0af'],
    ['overlong in three bytes', 'e080af'],
    ['overlong in four bytes', 'f08080af'],
    ['the last overlong of two', 'c1bf'],
    ['the last overlong of three', 'e09fbf'],
    ['the last overlong of four', 'f08fbfbf'],
    ['the first surrogate', 'eda080'],
    ['the last surrogate', 'edbfbf'],
    ['a pair of surrogates', 'eda081edb080'],
    ['above U+10FFFF', 'f4908080'],
    ['five bytes', 'f888808080'],
    ['six bytes', 'fc8480808080'],
    ['FE', 'fe'],
    ['FF', 'ff'],
    ['good text with a bad end', '6162c3'],
    ['Latin-1', '4dfc6c6c'],
  ])('%s', (_name, text) => {
    expect(refusal(readText, hex(text))).toBe('MQTT-1.5.4-1')
    expect(refusal(checkText, hex(text))).toBe('MQTT-1.5.4-1')
  })
})

describe('code points', () => {
  test('every one up to U+10FFFF is a name, unless it is a control, no character, or half a pair', () => {
    for (let code = 0; code <= 0x10_ffff; code += code < 0x1_0000 ? 1 : 0xfd) {
      if (code >= 0xd800 && code <= 0xdfff) continue
      const text = String.fromCodePoint(code)
      const bytes = Buffer.from(text)
      const control = code < 0x20 || (code >= 0x7f && code <= 0x9f)
      const none = (code >= 0xfdd0 && code <= 0xfdef) || code === 0xfffe || code === 0xffff
      const expected = code === 0 ? 'MQTT-1.5.4-2' : control || none ? 'MQTT-1.5.4' : undefined
      if (refusal(readText, bytes) !== expected) expect.fail(`U+${code.toString(16)}: ${refusal(readText, bytes)}`)
      if (expected === undefined && readText(bytes, 0, bytes.length) !== text) expect.fail(`U+${code.toString(16)}`)
      // What is only forwarded may hold them.
      if (refusal(checkText, bytes) !== (code === 0 ? 'MQTT-1.5.4-2' : undefined)) expect.fail(`U+${code.toString(16)}`)
    }
  })

  test.each([
    ['nothing', ''],
    ['a byte order mark, kept', '\ufeff\ufeffa'],
    ['many planes', 'Ünïcödé/日本/🐦/\u{10fffd}'],
    ['65,535 bytes', 'ü'.repeat(32_767) + 'a'],
  ])('%s', (_name, text) => {
    const bytes = Buffer.from(text)
    expect(readText(bytes, 0, bytes.length)).toBe(text)
  })

  test.each(['ab\0', '\0', 'ü\0', 'a\nb', 'a\r', '\u001b[31m', 'ü\n', 'a\u007f', 'ü\u0085', '\u200b\ufffe'])(
    '%j is no name',
    (text) => {
      expect(refusal(readText, Buffer.from(text))).toMatch(/^MQTT-1\.5\.4/)
    },
  )
})
