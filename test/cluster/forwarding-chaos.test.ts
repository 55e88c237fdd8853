import { expect, test } from 'vitest'
import { Dice } from '../sim/dice.ts'
import { City } from './cluster-kit.ts'
import type { TestClient } from './client.ts'

// Links break, nodes fall and rise, sides part and heal, while clients publish. In the end all is there that was
// acknowledged, exactly once where that was promised, and in the order of each publisher.

interface Publisher {
  readonly client: TestClient
  readonly name: string
  readonly sent: { readonly id: number; readonly text: string; readonly qos: 1 | 2; readonly topic: string }[]
}

function chaos(seed: number): void {
  const dice = new Dice(seed)
  const names = ['a', 'b', 'c'].slice(0, 2 + dice.below(2))
  const city = new City(names, { settings: { handoffAfterMs: 300 } }, seed)
  for (const name of names) city.keeper(name, `s${name}`, 't/#').disconnect()
  // One or two nodes have the members of a group.
  const members = names.filter(() => dice.chance(0.5)).slice(0, 2)
  for (const name of members) city.keeper(name, `g${name}`, '$share/g/t/2').disconnect()
  city.run(500)
  const publishers: Publisher[] = []
  const publish = (node: string) => {
    const machine = city.machine(node)
    if (!machine.isUp || !machine.ready) return
    let publisher = publishers.find(({ client, name }) => client.state === 'connected' && name.startsWith(node))
    if (publisher === undefined || dice.chance(0.1)) {
      const name = `${node}${publishers.length}`
      publisher = { client: city.dial(node, name), name, sent: [] }
      publishers.push(publisher)
      city.run(1)
    }
    for (let count = 1 + dice.below(30); count > 0; count--) {
      const qos = dice.chance(0.5) ? 1 : 2
      const topic = `t/${dice.below(3)}`
      const text = `${publisher.name} ${publisher.sent.length}`
      publisher.sent.push({ id: publisher.client.publish(topic, text, qos), text, qos, topic })
    }
  }
  const tell = (line: string) => {
    if (process.env['SIM_SEED'] !== undefined) process.stdout.write(`${city.time.now().toFixed(1)} ${line}\n`)
  }
  for (let step = 0; step < 40; step++) {
    const [one, other] = [names[dice.below(names.length)]!, names[dice.below(names.length)]!]
    const deed = dice.below(12)
    tell(
      `${deed} ${one} ${other}  ${publishers.map(({ name, client, sent }) => `${name}:${client.acked.length}/${sent.length}`).join(' ')}`,
    )
    switch (deed) {
      case 0:
        if (city.machine(one).isUp) {
          city.fall(one, dice.chance(0.5) ? 'kill' : 'power')
          for (const { client, name } of publishers) if (name.startsWith(one)) client.drop()
        }
        break
      case 1:
      case 2:
        if (!city.machine(one).isUp) city.rise(one)
        break
      case 3:
        if (one !== other) city.part([one], [other])
        break
      case 4:
        city.heal()
        break
      case 5:
        if (one !== other) city.breakLinks(one, other)
        break
      default:
        publish(one)
    }
    city.run(dice.chance(0.3) ? dice.between(0, 1500) : dice.between(0, 5))
  }
  city.heal()
  for (const name of names) if (!city.machine(name).isUp) city.rise(name)
  const settled = () =>
    names.every((name) => [...city.node(name).live()].length === names.length - 1) &&
    names.every((name) => [...city.node(name).forwarding.nodes()].every(({ messages }) => messages === 0))
  city.until(settled, 60_000)
  city.run(1000)
  for (const name of names) {
    const keeper = city.client(name, `s${name}`, { clean: false, expirySeconds: 10_000 })
    city.run(3000)
    const firsts = new Map<string, number>()
    keeper.texts.forEach((text, at) => {
      if (!firsts.has(text)) firsts.set(text, at)
    })
    for (const { client, sent } of publishers) {
      const acked = new Set(client.acked.filter(({ reason }) => reason < 0x80).map(({ id }) => id))
      const missing = sent.filter(({ id, text }) => acked.has(id) && !firsts.has(text)).map(({ text }) => text)
      expect(missing, `acknowledged and not at ${name}`).toEqual([])
      for (const qos of [1, 2]) {
        const came = sent.filter((message) => message.qos === qos && firsts.has(message.text))
        const order = came.map(({ text }) => firsts.get(text)!)
        expect(order, `in order at ${name}`).toEqual([...order].sort((a, b) => a - b))
      }
      const exact = new Set(sent.filter(({ qos }) => qos === 2).map(({ text }) => text))
      const copies = keeper.texts.filter((text) => exact.has(text))
      const twice = copies.filter((text, at) => copies.indexOf(text) !== at)
      expect(twice, `twice at ${name}`).toEqual([])
    }
  }
  const shared = members.flatMap((name) => {
    const member = city.client(name, `g${name}`, { clean: false, expirySeconds: 10_000 })
    city.run(3000)
    return member.texts
  })
  for (const { client, sent } of members.length > 0 ? publishers : []) {
    const acked = new Set(client.acked.filter(({ reason }) => reason < 0x80).map(({ id }) => id))
    const forGroup = sent.filter(({ topic }) => topic === 't/2')
    const missing = forGroup.filter(({ id, text }) => acked.has(id) && !shared.includes(text)).map(({ text }) => text)
    expect(missing, 'acknowledged and with no member').toEqual([])
    const exact = new Set(forGroup.filter(({ qos }) => qos === 2).map(({ text }) => text))
    const twice = shared.filter((text, at) => exact.has(text) && shared.indexOf(text) !== at)
    expect(twice, 'twice in the group').toEqual([])
  }
  city.audit()
}

const first = Number(process.env['SIM_SEED'] ?? 1)
const count = process.env['SIM_SEED'] === undefined ? Number(process.env['SIM_SEEDS'] ?? 40) : 1

test.each(Array.from({ length: count }, (_, i) => first + i))('seed %i', (seed) => chaos(seed))
