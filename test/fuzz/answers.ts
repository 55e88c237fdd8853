import { cut } from '../mqtt/reference.ts'

/**
 * What a broker answers to the packets in `bytes`, in order, as long as it does not close: read naively, from the first byte
 * and the packet id alone. A greeting is CONNACK or AUTH: which of them, only the exchange knows.
 */
export function answersTo(bytes: Uint8Array, version: number): string[] {
  const answers: string[] = []
  for (const { bytes: frame, body, total } of cut(bytes)) {
    if (total !== frame.length) break
    const id = (at: number): number => frame[at]! * 256 + frame[at + 1]!
    switch (frame[0]! >> 4) {
      case 1:
        answers.push('greeting')
        break
      case 3: {
        const qos = (frame[0]! >> 1) & 3
        if (qos > 0) answers.push(`${qos === 1 ? 'puback' : 'pubrec'} ${id(body + 2 + id(body))}`)
        break
      }
      case 6:
        answers.push(`pubcomp ${id(body)}`)
        break
      case 8:
        answers.push(`suback ${id(body)} of ${filters(frame, afterProperties(frame, body + 2, version), 1)}`)
        break
      case 10:
        answers.push(`unsuback ${id(body)}`)
        break
      case 12:
        answers.push('pingresp')
        break
      case 14:
        return answers
      case 15:
        answers.push('greeting')
    }
  }
  return answers
}

function afterProperties(frame: Uint8Array, at: number, version: number): number {
  if (version !== 5) return at
  let length = 0
  for (let scale = 1; ; scale *= 128) {
    const byte = frame[at++] ?? 0
    length += (byte & 127) * scale
    if (byte < 128) return at + length
  }
}

function filters(frame: Uint8Array, start: number, optionBytes: number): number {
  let count = 0
  for (let at = start; at < frame.length; count++) at += 2 + frame[at]! * 256 + (frame[at + 1] ?? 0) + optionBytes
  return count
}
