import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connectAsync, type MqttClient } from 'mqtt'
import { describe, expect, test } from 'vitest'
import { aclCases, badAclFiles } from '../access/acl-cases.ts'
import { freePort, Program, temporary } from '../support/program.ts'

// The table that our reader of acl_file is held to, asked of Debian's mosquitto.

async function startMosquitto(acl: string): Promise<{ program: Program; port: number }> {
  const folder = temporary()
  const port = await freePort()
  const [aclFile, file] = [join(folder, 'acl'), join(folder, 'mosquitto.conf')]
  writeFileSync(aclFile, acl)
  const lines = [
    'log_dest stderr',
    'user root',
    `listener ${port} 127.0.0.1`,
    'allow_anonymous true',
    `acl_file ${aclFile}`,
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  return { program: new Program('mosquitto', ['-c', file]), port }
}

/** May it publish? Version 5 is told. */
function mayWrite(client: MqttClient, topic: string): Promise<boolean> {
  return new Promise((resolve, reject) =>
    client.publish(topic, 'x', { qos: 1 }, (fault, packet) => {
      const { code } = (fault ?? {}) as { code?: number }
      if (fault && code !== 0x87) reject(fault)
      else resolve(!fault && ((packet as { reasonCode?: number } | undefined)?.reasonCode ?? 0) < 0x80)
    }),
  )
}

// One who may do everything publishes what the others may read or not.
const tells =
  'user the-one-who-tells\ntopic readwrite #\ntopic readwrite $d/#\ntopic readwrite $a/#\ntopic readwrite $x/#\n'

for (const { name, text, asked } of aclCases)
  test(name, async () => {
    const { program, port } = await startMosquitto(`${text}\n${tells}`)
    await program.err.until('running')
    const url = `mqtt://127.0.0.1:${port}`
    const version5 = { protocolVersion: 5, reconnectPeriod: 0 } as const
    const teller = await connectAsync(url, { ...version5, clientId: 'teller', username: 'the-one-who-tells' })
    const found: string[] = []
    for (const [user, clientId, topic] of asked) {
      const client = await connectAsync(url, { ...version5, clientId, ...(user !== undefined && { username: user }) })
      const got: string[] = []
      client.on('message', (_topic, payload) => got.push(payload.toString()))
      expect((await client.subscribeAsync([topic, 'end'], { qos: 1 })).map(({ qos }) => qos)).toEqual([1, 1])
      const writes = await mayWrite(client, topic)
      got.length = 0
      await teller.publishAsync(topic, 'told', { qos: 1 })
      // What it has been sent stands before the answer to this.
      await client.unsubscribeAsync('end')
      found.push(`${got.includes('told') ? 'R' : ''}${writes ? 'W' : ''}`)
      await client.endAsync()
    }
    await teller.endAsync()
    expect(found).toEqual(asked.map(([, , , theirs]) => theirs))
  })

describe('files that it does not start with', () => {
  for (const [text, line] of badAclFiles)
    test(`${JSON.stringify(text)}, line ${line}`, async () => {
      const { program } = await startMosquitto(text)
      expect((await program.ended()).code).not.toBe(0)
    })
})
