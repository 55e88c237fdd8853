import type { IClientSubscribeOptions, MqttClient } from 'mqtt'
import type { ISubackPacket } from 'mqtt-packet'
import { CliError, Exit, note, type Io } from '../io.ts'
import { causeOf, reasonWords } from './fault.ts'

/**
 * Asks for `filters`, and tells of each what the broker did not grant.
 * @throws CliError when it granted none.
 */
export async function subscribeTo(
  client: MqttClient,
  filters: readonly string[],
  options: IClientSubscribeOptions,
  io: Io,
): Promise<void> {
  const answer = await new Promise<ISubackPacket>((resolve, reject) => {
    client.subscribe([...filters], options, (fault, _granted, packet) => {
      if (packet) resolve(packet)
      else reject(new CliError(Exit.failure, `cannot subscribe: ${causeOf(fault ?? undefined)}`))
    })
  })
  const version = client.options.protocolVersion ?? 4
  const codes = answer.granted as readonly number[]
  let refusals = 0
  for (const [at, filter] of filters.entries()) {
    const code = codes[at] ?? 0x80
    if (code < 0x80) {
      if (code < options.qos) note(io, `"${filter}" comes with QoS ${code} at most`)
      continue
    }
    refusals++
    const message = `the broker refused "${filter}": ${reasonWords(code, version, answer.properties?.reasonString)}`
    if (refusals === filters.length) throw new CliError(Exit.refused, message)
    note(io, message)
  }
}
