import { MqttError, Reason } from './reason.ts'

/**
 * Reads `bytes[start, end)` as an MQTT string: well-formed UTF-8, no surrogates, no U+0000 (MQTT 5.0, 1.5.4).
 * Control characters are refused too, which the standard allows: they forge log lines and never name a device.
 * A leading U+FEFF is kept, as 1.5.4-3 asks.
 * @throws MqttError 0x81, naming the clause.
 */
export function readText(bytes: Uint8Array, start: number, end: number): string {
  let ascii = true
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!
    if (byte >= 0x80) ascii = false
    else if (byte < 0x20 || byte === 0x7f) throw controlFault(byte)
  }
  if (ascii) return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1')
  try {
    return checkCharacters(utf8.decode(bytes.subarray(start, end)))
  } catch (fault) {
    if (fault instanceof MqttError) throw fault
    throw new MqttError(Reason.malformedPacket, 'MQTT-1.5.4-1', 'a string is not well-formed UTF-8')
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

// C1 controls and non-characters: "SHOULD NOT" in the standard; refused for the same reason as C0.
function checkCharacters(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if ((code >= 0x80 && code <= 0x9f) || (code >= 0xfdd0 && code <= 0xfdef) || code >= 0xfffe) throw controlFault(code)
  }
  return text
}

function controlFault(code: number): MqttError {
  const clause = code === 0 ? 'MQTT-1.5.4-2' : 'MQTT-1.5.4'
  return new MqttError(Reason.malformedPacket, clause, `a string contains U+${code.toString(16).padStart(4, '0')}`)
}
