import { describe, expect, test } from 'vitest'
import { compare, cutAt, example, limits, type Vector } from './compare.ts'
import { largeVectors, smallVectors } from './corpus.ts'
import { Rig } from './line.ts'
import { laxer, stricter } from './stricter.ts'

// Our codec against mqtt-packet, the reference, on packets that were chosen; `mutations.test.ts` has those that were not.

const corpus = smallVectors()
const wide = { ...limits, packetBytes: 3_000_000 }

describe('the corpus', () => {
  for (const vector of corpus)
    test(`${vector.name} is read the same`, () => {
      expect(compare(new Rig(), vector)).toEqual({ end: 'taken' })
    })

  test('packets around every step of the encodings are read the same', () => {
    const rig = new Rig({ packetBytes: wide.packetBytes, packetBytesBeforeConnect: wide.packetBytes })
    for (const vector of largeVectors()) expect(compare(rig, vector, [], wide), vector.name).toEqual({ end: 'taken' })
  })
})

describe('what both refuse', () => {
  const refused: [Vector['version'], string, string][] = [
    [4, 'type 0', '0000'],
    [4, 'QoS 3', '36050001610001'],
    [4, 'a topic longer than its packet', '30030002 61'],
    [4, 'PUBLISH without a topic length', '300100'],
    [4, 'five bytes of length', 'c0ffffffff01'],
    [4, 'flags of PUBACK', '41020001'],
    [4, 'flags of PUBREL', '60020001'],
    [4, 'DUP on PUBREL', '6a020001'],
    [4, 'flags of SUBSCRIBE', '8006 0001 000161 00'],
    [4, 'DUP on SUBSCRIBE', '8a06 0001 000161 00'],
    [4, 'flags of UNSUBSCRIBE', 'a005 0001 000161'],
    [4, 'flags of PINGREQ', 'c100'],
    [4, 'flags of DISCONNECT', 'e100'],
    [4, 'AUTH before version 5', 'f000'],
    [5, 'flags of AUTH', 'f10118'],
    [4, 'subscription QoS 3', '8206 0001 000161 03'],
    [4, 'no local before version 5', '8206 0001 000161 04'],
    [5, 'subscription QoS 3 in v5', '8207 0001 00 000161 03'],
    [5, 'reserved options', '8207 0001 00 000161 40'],
    [5, 'retain handling 3', '8207 0001 00 000161 30'],
    [4, 'a filter without options', '8205 0001 000161'],
    [4, 'a filter longer than its packet', '8206 0001 000261 00'],
    [4, 'an unsubscription longer than its packet', 'a205 0001 000261'],
    [5, 'an unknown property', '3006 000161 02 0401'],
    [5, 'property 0', '3006 000161 02 0000'],
    [5, 'a property by two bytes', '3007 000161 03 a60000'],
    [5, 'properties longer than their packet', '3005 000161 02 01'],
    [5, 'a PUBACK reason that is none', '40030001ff'],
    [5, 'a PUBREL reason of PUBACK', '6203000110'],
    [5, 'a DISCONNECT reason that is none', 'e00101'],
    [5, 'an AUTH reason that is none', 'f00101'],
    [0, 'another protocol', '100d 00044d515458 04 02 0000 000163'],
    [0, 'another level', '100d 00044d515454 06 02 0000 000163'],
    [0, 'the reserved connect flag', '100d 00044d515454 04 03 0000 000163'],
    [0, 'a will QoS without a will', '100d 00044d515454 04 0a 0000 000163'],
    [0, 'will retain without a will', '100d 00044d515454 04 22 0000 000163'],
    [0, 'flags of CONNECT', '110d 00044d515454 04 02 0000 000163'],
    [0, 'a client id longer than its packet', '100d 00044d515454 04 02 0000 000263'],
    [0, 'no will behind the flag', '100d 00044d515454 04 06 0000 000163'],
    [0, 'no name behind the flag', '100d 00044d515454 04 82 0000 000163'],
    [0, 'an empty CONNECT', '1000'],
  ]
  for (const [version, name, text] of refused)
    test(name, () => {
      expect(compare(new Rig(), example(version, text))).toEqual({ end: 'refused' })
    })
})

describe('where they differ', () => {
  for (const rule of stricter)
    test(`${rule.clause}: only we ask for it: ${rule.what}`, () => {
      expect(compare(new Rig(), example(rule.version, rule.example))).toEqual({ end: 'stricter', rule })
    })

  for (const { what, version, example: text } of laxer)
    test(`mqtt-packet refuses ${what}; 3.1 allows it`, () => {
      expect(compare(new Rig(), example(version, text))).toEqual({ end: 'taken' })
      const later = text
        .replace('00064d5149736470 03', '00044d515454 04')
        .replace(/^1012/, '1010')
        .replace(/^100f/, '100d')
      expect(compare(new Rig(), example(version === 3 ? 4 : 0, later))).toEqual({ end: 'refused' })
    })
})

describe('chunks', () => {
  const rig = new Rig({ packetBytes: wide.packetBytes, packetBytesBeforeConnect: wide.packetBytes })

  /** What comes out of a vector that comes in these chunks. */
  function outcome(vector: Vector, chunks: readonly Uint8Array[]): string {
    const line = rig.open(vector.version === 0 ? undefined : vector.version).feed(...chunks)
    const { readings, ends, fault, stream } = line
    if (ends === 0) line.connection.closed()
    return JSON.stringify([readings, ends, fault?.message, stream.bytes.toString('hex')])
  }

  function everyCut(vector: Vector, cuts: Iterable<number>): void {
    const whole = outcome(vector, [vector.bytes])
    for (const cut of cuts)
      if (outcome(vector, cutAt(vector.bytes, [cut])) !== whole) expect.fail(`${vector.name} differs, cut at ${cut}`)
  }

  const everywhere = ({ bytes }: Vector): number[] => Array.from(bytes, (_, at) => at)

  test('every vector comes out the same, cut in two at every byte', () => {
    for (const vector of corpus) everyCut(vector, everywhere(vector))
    for (const { version, example: text } of stricter)
      everyCut(example(version, text), everywhere(example(version, text)))
  })

  test('every vector comes out the same, byte by byte', () => {
    for (const vector of corpus)
      expect(outcome(vector, cutAt(vector.bytes, everywhere(vector))), vector.name).toBe(
        outcome(vector, [vector.bytes]),
      )
  })

  test('large vectors come out the same, cut near their ends', () => {
    for (const vector of largeVectors()) {
      const { length } = vector.bytes
      const edges = [...Array(12).keys()]
      everyCut(vector, [...edges, length >> 1, ...edges.map((edge) => length - 1 - edge)])
    }
  })

  test('packets behind each other come out the same, cut in three at every pair of places', () => {
    for (const version of [3, 4, 5] as const) {
      const some = corpus.filter((it) => it.version === version && it.bytes.length < 24 && !/DISCONNECT/.test(it.name))
      const bytes = Buffer.concat(some.slice(0, 12).map((vector) => vector.bytes))
      const vector = { name: `v${version} together`, version, bytes }
      const whole = outcome(vector, [bytes])
      expect((JSON.parse(whole) as unknown[])[1]).toBe(0)
      for (let first = 0; first < bytes.length; first++)
        for (let second = first; second < bytes.length; second++)
          if (outcome(vector, cutAt(bytes, [first, second])) !== whole)
            expect.fail(`${vector.name} differs, cut at ${first} and ${second}`)
    }
  })

  test('everything behind each other comes out the same, cut in two at every place', () => {
    for (const version of [3, 4, 5] as const) {
      const some = corpus.filter((it) => it.version === version && !/DISCONNECT/.test(it.name))
      const vector = { name: `v${version} all`, version, bytes: Buffer.concat(some.map(({ bytes }) => bytes)) }
      everyCut(vector, everywhere(vector))
    }
  })
})
