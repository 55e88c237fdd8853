import { Readable } from 'node:stream'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { lineBatches, wholeInput } from '../../src/cli/input.ts'

test('lines are the same however the bytes are cut', async () => {
  const byte = fc.constantFrom(10, 10, 65, 13, 255)
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(byte, { minLength: 1 })), async (cuts) => {
      const chunks = cuts.map((bytes) => Buffer.from(bytes))
      const whole = Buffer.concat(chunks).toString('latin1')
      const lines: string[] = []
      for await (const batch of lineBatches(Readable.from(chunks, { objectMode: true })))
        lines.push(...batch.map((line) => line.toString('latin1')))
      // A newline ends a line, so the last one leaves no empty line behind it.
      const wanted = whole.split('\n')
      if (wanted.at(-1) === '') wanted.pop()
      expect(lines).toEqual(wanted)
    }),
  )
})

test('all of a stream', async () => {
  expect(await wholeInput(Readable.from([Buffer.from('a\n'), Buffer.from([255])]))).toEqual(Buffer.from([97, 10, 255]))
  expect(await wholeInput(Readable.from([]))).toEqual(Buffer.alloc(0))
})
