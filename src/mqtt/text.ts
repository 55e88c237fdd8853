import { MqttError, Reason } from './reason.ts'

/**
 * Reads a name (topic, client id, user) from `bytes[start, end)`: well-formed UTF-8 without U+0000 (MQTT 5.0, 1.5.4).
 * Control characters are refused too, as the standard allows: they forge log lines and never name a device.
 * A leading U+FEFF is kept [MQTT-1.5.4-3].
 * @throws MqttError 0x81, naming the clause.
 */
export function readText(bytes: Uint8Array, start: number, end: number): string {
  let ascii = true
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!
    if (byte >= 0x80) ascii = false
    else if (byte < 0x20 || byte === 0x7f) throw controlFault(byte)
  }
  const view = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
  if (ascii) return view.toString('latin1')
  const text = decode(view)
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if ((code >= 0x80 && code <= 0x9f) || (code >= 0xfdd0 && code <= 0xfdef) || code >= 0xfffe) throw controlFault(code)
  }
  return text
}

/**
 * Checks a string that is only forwarded (a user property, a content type): well-formed UTF-8 without U+0000.
 * @throws MqttError 0x81, naming the clause.
 */
export function checkText(bytes: Uint8Array, start: number, end: number): void {
  let ascii = true
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!
    if (byte >= 0x80) ascii = false
    else if (byte === 0) throw controlFault(0)
  }
  if (!ascii) decode(bytes.subarray(start, end))
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decode(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new MqttError(Reason.malformedPacket, 'MQTT-1.5.4-1', 'a string is not well-formed UTF-8')
  }
}

function controlFault(code: number): MqttError {
  const clause = code === 0 ? 'MQTT-1.5.4-2' : 'MQTT-1.5.4'
  return new MqttError(Reason.malformedPacket, clause, `a string contains U+${code.toString(16).padStart(4, '0')}`)
}
