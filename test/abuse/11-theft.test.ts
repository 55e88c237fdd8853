import { beforeEach, describe, expect, test } from 'vitest'
import { Reason } from '../../src/mqtt/reason.ts'
import { CountingHasher } from '../access/kit.ts'
import { AuthFiles } from '../support/auth.ts'
import { startBroker, type TestBroker, temporaryFolder } from '../support/broker.ts'
import { connectPacket, RawClient } from '../support/raw.ts'

let files: AuthFiles
beforeEach(async () => {
  files = new AuthFiles()
  await files.users({ anna: { password: 'hers' }, eve: { password: 'his' } })
})

const lasting = { clean: false, properties: { sessionExpiryInterval: 1000 } }

function start(more = '', data?: string): Promise<TestBroker> {
  const auth = files.auth(`auth: { users: users.yaml${more} }`)
  return startBroker({ hasher: new CountingHasher(), config: { auth }, ...(data !== undefined && { data }) })
}

const shown = (username: 'anna' | 'eve') => ({ username, password: (username === 'anna' ? 'hers' : 'his') as never })
const anna = (broker: TestBroker, more: object = lasting) =>
  RawClient.connect(broker, 5, { clientId: 's', ...shown('anna'), ...more })

describe.each([4, 5] as const)('abuse 11: another user with the same client id, version %i', (version) => {
  async function refused(broker: TestBroker, clean: boolean): Promise<void> {
    const thief = await RawClient.open(broker, version)
    thief.send(connectPacket(version, { clientId: 's', clean, ...shown('eve') }))
    const connack = await thief.expect('connack')
    expect(version === 5 ? connack.reasonCode : connack.returnCode).toBe(version === 5 ? Reason.clientIdNotValid : 2)
    await thief.expectClosed()
  }

  test.each([true, false])('clean: %s: refused, and the one that is there stays online', async (clean) => {
    const broker = await start()
    const owner = await anna(broker)
    await owner.subscribe('t')
    await refused(broker, clean)
    owner.publish('t', 'still hers')
    expect(String((await owner.expect('publish')).payload)).toBe('still hers')
    await owner.expectQuiet()
  })

  test('while it is offline, and after a restart; its queue is for its user alone', async () => {
    const data = temporaryFolder()
    const first = await start('', data)
    const owner = await anna(first)
    await owner.subscribe('t', 1)
    await owner.drop()
    await RawClient.connect(first, 5, { clientId: 'p', ...shown('eve') }).then(async (publisher) => {
      publisher.publish('t', 'hers', { qos: 1, messageId: 1 })
      await publisher.expect('puback')
    })
    await refused(first, false)
    await refused(first, true)
    await first.node.close()
    const second = await start('', data)
    await refused(second, true)
    const back = await anna(second)
    expect(String((await back.expect('publish')).payload)).toBe('hers')
  })

  test("a session whose time is over is nobody's", async () => {
    const broker = await start()
    await (await anna(broker, { clean: true })).drop()
    await expect.poll(() => broker.node.broker.sessions.size).toBe(0)
    await RawClient.connect(broker, version, { clientId: 's', ...shown('eve') })
  })
})

test('abuse 11: two users come with one client id before either is let in: the first one has it', async () => {
  const hooks = new Map<string | undefined, () => void>()
  const authenticate = ({ username }: { username: string | undefined }) =>
    new Promise<void>((resolve) => void hooks.set(username, resolve))
  const broker = await startBroker({ hooks: { authenticate } })
  const open = async (name: 'anna' | 'eve') => {
    const client = await RawClient.open(broker)
    client.send(connectPacket(5, { clientId: 's', ...lasting, ...shown(name) }))
    await expect.poll(() => hooks.has(name)).toBe(true)
    return client
  }
  const [owner, thief] = [await open('anna'), await open('eve')]
  hooks.get('anna')!()
  expect((await owner.expect('connack')).reasonCode).toBe(0)
  hooks.get('eve')!()
  expect((await thief.expect('connack')).reasonCode).toBe(Reason.clientIdNotValid)
  await owner.expectQuiet()
})

test('abuse 11: one who has not logged in has nobody’s session, and may have its own', async () => {
  const broker = await startBroker({
    hasher: new CountingHasher(),
    config: { auth: files.auth('auth: { users: users.yaml }') },
    allowAnonymous: true,
  })
  const owner = await anna(broker)
  const stranger = await RawClient.open(broker)
  stranger.send(connectPacket(5, { clientId: 's', clean: true }))
  expect((await stranger.expect('connack')).reasonCode).toBe(Reason.clientIdNotValid)
  await owner.expectQuiet()
  await RawClient.connect(broker, 5, { clientId: 'other' })
})

test('abuse 11: nor where it is a host program that lets clients in', async () => {
  const authenticate = ({ username }: { username: string | undefined }, password: Uint8Array | undefined) =>
    String(password) === String(shown(username as 'anna' | 'eve').password)
  const broker = await startBroker({ hooks: { authenticate } })
  const owner = await anna(broker)
  for (const clean of [true, false]) {
    const thief = await RawClient.open(broker)
    thief.send(connectPacket(5, { clientId: 's', clean, ...shown('eve') }))
    expect((await thief.expect('connack')).reasonCode).toBe(Reason.clientIdNotValid)
  }
  await owner.expectQuiet()
  await owner.drop()
  await anna(broker)
})

test('abuse 11: where users are kept apart, each has a session of that id', async () => {
  const broker = await start(', sameClientId: separate')
  const owner = await anna(broker)
  await owner.subscribe('t', 1)
  await owner.drop()
  const other = await RawClient.connect(broker, 5, { clientId: 's', ...shown('eve'), ...lasting })
  other.publish('t', 'hers', { qos: 1, messageId: 1 })
  await other.expect('puback')
  expect(broker.node.broker.sessions.size).toBe(2)
  const back = await anna(broker)
  expect(String((await back.expect('publish')).payload)).toBe('hers')
  await other.expectQuiet()
  // Her own second connection takes over, as ever.
  await anna(broker)
  await back.expectDisconnect(Reason.sessionTakenOver)
})
