import mqttPacket from 'mqtt-packet'
import { connectPacket } from '../support/raw.ts'

/** A CONNECT of MQTT 5.0 that everybody may send. */
export const connectBytes = mqttPacket.generate(connectPacket(5), { protocolVersion: 5 })
