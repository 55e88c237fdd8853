import { MqttError, Reason } from './reason.ts'
import { checkText, readText } from './text.ts'

/** Walks one packet's bytes, checking every length against what is there. Each method throws MqttError 0x81. */
export class Reader {
  at = 0
  end = 0
  bytes: Uint8Array = empty

  /** Looks at `bytes[start, end)`. A reader is reused: it holds no state between packets. */
  over(bytes: Uint8Array, start: number, end: number): this {
    this.bytes = bytes
    this.at = start
    this.end = end
    return this
  }

  get left(): number {
    return this.end - this.at
  }

  u8(): number {
    this.#need(1)
    return this.bytes[this.at++]!
  }

  u16(): number {
    this.#need(2)
    const value = (this.bytes[this.at]! << 8) | this.bytes[this.at + 1]!
    this.at += 2
    return value
  }

  u32(): number {
    return this.u16() * 0x10000 + this.u16()
  }

  /** A variable byte integer, in its shortest form [MQTT-1.5.5-1]. */
  varint(): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8()
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) {
        if (byte === 0 && shift > 0) throw malformed('MQTT-1.5.5-1', 'a variable byte integer is longer than needed')
        return value
      }
    }
    throw malformed('MQTT-1.5.5-1', 'a variable byte integer has more than four bytes')
  }

  text(): string {
    const start = this.skipPrefixed()
    return readText(this.bytes, start, this.at)
  }

  /** Checks a string that is only forwarded; unlike a name it may hold control characters. */
  skipText(): void {
    const start = this.skipPrefixed()
    checkText(this.bytes, start, this.at)
  }

  /** Steps over a two-byte length and its content; gives where the content starts. */
  skipPrefixed(): number {
    const length = this.u16()
    this.#need(length)
    this.at += length
    return this.at - length
  }

  /** Binary data with a two-byte length: a view, not a copy. */
  binary(): Uint8Array {
    const start = this.skipPrefixed()
    return this.bytes.subarray(start, this.at)
  }

  #need(count: number): void {
    if (this.end - this.at < count) throw malformed('MQTT-4.13.1-1', 'a packet is shorter than its fields say')
  }
}

export function malformed(clause: string, what: string): MqttError {
  return new MqttError(Reason.malformedPacket, clause, what)
}

export function protocolError(clause: string, what: string): MqttError {
  return new MqttError(Reason.protocolError, clause, what)
}

const empty = new Uint8Array(0)
