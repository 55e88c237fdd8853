import { expect, test } from 'vitest'
import { inert, inertLines } from '../../src/cli/terminal.ts'

for (const [text, one, lines] of [
  ['plain, ünïcödé, 日本 🚀', 'plain, ünïcödé, 日本 🚀', undefined],
  ['a\nb\tc', 'a\\u000ab\\u0009c', 'a\nb\tc'],
  ['\r\b\0\x7f', '\\u000d\\u0008\\u0000\\u007f', undefined],
  ['\x1b]0;title\x07', '\\u001b]0;title\\u0007', undefined],
  ['\x9b31m', '\\u009b31m', undefined],
  ['a\u202eb\u2066c\u200f\u2028', 'a\\u202eb\\u2066c\\u200f\\u2028', undefined],
] as const)
  test(JSON.stringify(text), () => {
    expect(inert(text)).toBe(one)
    expect(inertLines(text)).toBe(lines ?? one)
  })
