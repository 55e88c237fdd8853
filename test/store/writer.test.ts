import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CorruptRecordError, RecordReader, RecordWriter } from '../../src/store/writer.ts'

type Field = NumberField | BytesField | { readonly kind: 'text'; readonly value: string }

interface NumberField {
  readonly kind: 'u8' | 'u16' | 'u32' | 'varint' | 'f64'
  readonly value: number
}

interface BytesField {
  readonly kind: 'bytes' | 'block'
  readonly value: Uint8Array
}

const field: fc.Arbitrary<Field> = fc.oneof(
  fc.nat(0xff).map((value) => ({ kind: 'u8' as const, value })),
  fc.nat(0xffff).map((value) => ({ kind: 'u16' as const, value })),
  fc.nat(0xffff_ffff).map((value) => ({ kind: 'u32' as const, value })),
  fc
    .oneof(
      fc.nat(300),
      fc.maxSafeNat(),
      fc.nat(53).map((bits) => 2 ** bits - 1),
    )
    .map((value) => ({ kind: 'varint' as const, value })),
  fc.double().map((value) => ({ kind: 'f64' as const, value })),
  fc.uint8Array({ maxLength: 300 }).map((value) => ({ kind: 'bytes' as const, value })),
  fc.uint8Array({ maxLength: 300 }).map((value) => ({ kind: 'block' as const, value })),
  fc.string({ unit: 'grapheme' }).map((value) => ({ kind: 'text' as const, value })),
)

const isNumber = (one: Field): one is NumberField => typeof one.value === 'number'

function write(writer: RecordWriter, one: Field): void {
  if (one.kind === 'text') return writer.text(one.value)
  if (isNumber(one)) return writer[one.kind](one.value)
  // From the middle of something larger, as payloads are.
  const larger = Uint8Array.from([1, 2, 3, ...one.value, 4])
  writer[one.kind](larger, 3, 3 + one.value.length)
}

function read(reader: RecordReader, one: Field): unknown {
  return one.kind === 'bytes' ? reader.bytes(one.value.length) : reader[one.kind]()
}

describe('fields of a record', () => {
  test('come back as they were written', () => {
    fc.assert(
      fc.property(fc.array(field), (fields) => {
        const writer = new RecordWriter(1)
        for (const one of fields) write(writer, one)
        const reader = new RecordReader().over(writer.view(), 0, writer.length)
        for (const one of fields)
          expect(read(reader, one)).toStrictEqual(one.kind === 'text' ? one.value : asPlain(one))
        expect(reader.left).toBe(0)
      }),
      { numRuns: 500, seed: 1 },
    )
  })

  test('cut short or replaced by noise, are corrupt or read within their bounds', () => {
    fc.assert(
      fc.property(fc.array(field), fc.uint8Array({ maxLength: 60 }), fc.boolean(), (fields, noise, cut) => {
        const writer = new RecordWriter()
        for (const one of fields) write(writer, one)
        const bytes = cut ? writer.view().subarray(0, -1) : noise
        const reader = new RecordReader().over(bytes, 0, bytes.length)
        try {
          for (const one of fields) read(reader, one)
        } catch (fault) {
          expect(fault).toBeInstanceOf(CorruptRecordError)
        }
        expect(reader.at).toBeLessThanOrEqual(bytes.length)
      }),
      { numRuns: 500, seed: 1 },
    )
  })

  test.each<[what: string, bytes: number[]]>([
    ['more than 53 bits', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]],
    ['no end', [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]],
    ['nothing', []],
  ])('a varint with %s is corrupt', (_what, bytes) => {
    expect(() => new RecordReader().over(Uint8Array.from(bytes), 0, bytes.length).varint()).toThrow(CorruptRecordError)
  })

  test('a writer is used again, and what it gave before it grew stays', () => {
    const writer = new RecordWriter(4)
    writer.u32(1)
    const before = writer.view()
    writer.u32(2)
    expect([...before]).toEqual([1, 0, 0, 0])
    writer.clear()
    writer.u8(7)
    expect([...writer.view()]).toEqual([7])
    expect(writer.length).toBe(1)
  })
})

function asPlain({ kind, value }: Field): unknown {
  return kind === 'bytes' || kind === 'block' ? Buffer.from(value) : value
}
