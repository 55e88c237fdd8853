import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connectAsync, type MqttClient } from 'mqtt'
import { describe, expect, test } from 'vitest'
import { readAclFile } from '../../src/access/acl-file.ts'
import { Permissions } from '../../src/access/permissions.ts'
import { Act } from '../../src/access/rules.ts'
import { Topic } from '../../src/mqtt/topic.ts'
import { aclCases, type Asked, badAclFiles } from '../access/acl-cases.ts'
import { startBroker } from '../support/broker.ts'
import { freePort, Program, temporary } from '../support/program.ts'
import { SeededRandom } from '../support/random.ts'

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

/** What a mosquitto with this acl_file says to each. */
async function answers(text: string, asked: readonly Asked[]): Promise<string[]> {
  const { program, port } = await startMosquitto(`${text}\n${tells}`)
  await program.err.until('running')
  const found = await ask(port, asked)
  await program.kill()
  return found
}

/** The same of our own broker. */
async function oursAnswers(text: string, asked: readonly Asked[]): Promise<string[]> {
  const { node, port } = await startBroker({ hooks: { authenticate: () => true } })
  node.broker.permit({ policies: [readAclFile('acl', `${text}\n${tells}`, [])!], named: (user) => ({ user }) })
  return ask(port, asked)
}

async function ask(port: number, asked: readonly Asked[]): Promise<string[]> {
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
  return found
}

for (const { name, text, asked } of aclCases)
  test(name, async () => {
    const questions = asked.map(([user, clientId, topic]): Asked => [user, clientId, topic])
    expect(await answers(text, questions)).toEqual(asked.map(([, , , theirs]) => theirs))
  })

for (const { name, text, asked } of aclCases)
  test(`our broker: ${name}`, async () => {
    const questions = asked.map(([user, clientId, topic]): Asked => [user, clientId, topic])
    expect(await oursAnswers(text, questions)).toEqual(asked.map(([, , , theirs, ours = theirs]) => ours))
  })

// What ours is stricter about is not asked: slashes in a name, and one that begins with "$".
const users = [undefined, '', 'u', 'a', 'u#', 'b', '%c'] as const
const ids = ['i', 'a', '+x', '%u', 'b'] as const

/** A file of a few lines about few words, so that they meet. */
function anyFile(random: SeededRandom): string {
  const level = (): string => random.pick(['a', 'b', 'i', 'u', '', '+', '%c', '%u', 'x%c', '$x'])
  const topic = (): string => {
    const levels = Array.from({ length: 1 + random.below(3) }, level)
    if (random.once(3)) levels.push('#')
    return levels.join('/')
  }
  const line = (): string => {
    if (random.once(5)) return `user ${random.pick(['u', 'a', 'u#', 'b'])}`
    const access = random.pick(['', 'read ', 'write ', 'readwrite ', 'deny '])
    return `${random.pick(['topic', 'pattern'])} ${access}${topic() || 'a'}`
  }
  return Array.from({ length: 2 + random.below(8) }, line).join('\n')
}

const seed = Number(process.env.ACL_SEED ?? 1)
const files = Number(process.env.ACL_FILES ?? 25)
test(`${files} files of chance from seed ${seed}: it says what our reader says`, { timeout: 300_000 }, async () => {
  const random = new SeededRandom(seed)
  for (let at = 0; at < files; at++) {
    const text = anyFile(random)
    const asked = Array.from({ length: 20 }, (): Asked => {
      const levels = Array.from({ length: 1 + random.below(3) }, () =>
        random.pick(['a', 'b', 'i', 'u', 'xi', '$x', '%c']),
      )
      return [random.pick(users), random.pick(ids), levels.join('/')]
    })
    const permissions = new Permissions([readAclFile('acl', text, [])!])
    const ours = asked.map(([user, id, name]) => {
      const client = permissions.for(user === undefined ? undefined : { user }, id)
      const topic = new Topic(name, Buffer.from(name))
      return `${client.may(Act.receive, topic) ? 'R' : ''}${client.may(Act.publish, topic) ? 'W' : ''}`
    })
    expect(ours, text).toEqual(await answers(text, asked))
  }
})

describe('files that it does not start with', () => {
  for (const [text, line] of badAclFiles)
    test(`${JSON.stringify(text)}, line ${line}`, async () => {
      const { program } = await startMosquitto(text)
      expect((await program.ended()).code).not.toBe(0)
    })
})
