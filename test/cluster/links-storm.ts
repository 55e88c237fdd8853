import { Node, VirtualNet } from './links-net.ts'

const names = ['a', 'b', 'c', 'd', 'e']
const creditBytes = 3000

/**
 * Everybody dials everybody, of either wire version; links break, nodes start anew. Then it is quiet: what is wrong?
 * There should be one link for each pair, what came should be what was sent, and nobody should wait for credit.
 */
export function storm(seed: number): string[] {
  const net = new VirtualNet(seed, 1 + (seed % 5) * 40)
  const dice = net.dice.fork(99)
  const faults = new Set<string>()
  const newest = names.map(() => (dice.once(3) ? 1 : 2))
  const options = (at: number, incarnation: number) => ({
    ...{ incarnation, wire: { oldest: 1, newest: newest[at]! }, limits: { creditBytes } },
  })
  const nodes = names.map((name, at) => new Node(net, name, `${name}:1`, options(at, 1)))
  const reachAll = (node: Node): void => {
    for (const name of names)
      if (dice.once(4)) node.links.join(`${name}:1`)
      else if (name !== node.name) node.links.reach(name, `${name}:1`)
  }
  // Each is known to at least one of any two.
  nodes.forEach((node, at) => {
    reachAll(node)
    for (const other of nodes.slice(at + 1)) node.links.reach(other.name, other.address)
  })
  const startAnew = (at: number, incarnation: number): void => {
    const node = nodes[at]!
    node.running = false
    for (const end of net.ends) if (dice.once(2) && !end.over) end.break()
    node.links.stop()
    const again = new Node(net, node.name, node.address, options(at, incarnation))
    nodes[at] = again
    reachAll(again)
    for (const other of nodes) if (other !== again) again.links.reach(other.name, other.address)
  }
  for (let turn = 0; turn < 600; turn++) {
    const at = dice.below(nodes.length)
    const node = nodes[at]!
    for (const peer of node.links.linked()) if (!node.links.congested(peer)) node.send(peer, dice.below(400))
    if (net.ends.length === 0) {
      net.run(10)
      continue
    }
    if (dice.once(40)) dice.pick(net.ends).break()
    if (dice.once(60)) {
      const end = dice.pick(net.ends)
      end.mute = end.other.mute = true
      end.close(new Error('reset'))
    }
    if (dice.once(150)) startAnew(at, turn + 2)
    net.run(dice.between(0, 20))
  }
  // Longer than it takes to notice silence.
  net.run(60_000)
  nodes.forEach((node, at) => {
    const others = names.filter((name) => name !== node.name)
    if (node.peers.join() !== others.join()) faults.add(`${node.name} is linked to ${node.peers.join()}`)
    nodes.forEach((other, there) => {
      if (other === node) return
      const agreed = Math.min(newest[at]!, newest[there]!)
      const version = node.links.version(other.name)
      if (version !== agreed) faults.add(`${node.name} speaks version ${version} to ${other.name}, not ${agreed}`)
      if (other.incarnation + node.incarnation === 2 && !node.heard(other))
        faults.add(`what ${node.name} heard of ${other.name} is not what was sent`)
    })
    for (const peer of node.links.linked()) {
      // Signs of life have told the last of it.
      const credit = node.links.credit(peer)
      if (credit !== creditBytes) faults.add(`${node.name} has ${credit} bytes of credit at ${peer}`)
    }
    for (const end of ['malformed', 'overfull', 'refused'] as const)
      if (node.links.ended[end] > 0) faults.add(`${node.name} has called a link ${end}`)
  })
  const open = net.ends.filter((end) => !end.over && !end.other.over).length
  if (open !== names.length * (names.length - 1)) faults.add(`${open / 2} connections are open`)
  return [...faults]
}

/** A node wants no link any more while the other one talks. */
export function farewell(seed: number): string[] {
  const net = new VirtualNet(seed, 40)
  const [a, b] = [new Node(net, 'a', 'a:1'), new Node(net, 'b', 'b:1')]
  a.links.reach('b', 'b:1')
  net.run(1000)
  for (let turn = 0; turn < 100; turn++) {
    b.send('a', 10)
    if (turn === 60) a.links.forget('b')
    if (turn === 60) a.diary.runs.push({ from: 'b', numbers: [] })
    net.run(1)
  }
  net.run(1000)
  const late = a.diary.runs.at(-1)!.numbers
  return late.length === 0 ? [] : [`${late.length} frames came behind the end of their link`]
}

/** A node was started twice, and the earlier start wants in, too. */
export function refusal(seed: number): string[] {
  const net = new VirtualNet(seed)
  const a = new Node(net, 'a', 'a:1')
  new Node(net, 'b', 'b:1', { incarnation: 7 }).links.join('a:1')
  net.run(1000)
  const early = new Node(net, 'b', 'b:2', { incarnation: 5 })
  early.links.join('a:1')
  net.run(20_000)
  const faults = early.diary.lines.map((line) => `the earlier start: ${line}`)
  if (a.diary.lines.join() !== '+b') faults.push(`a: ${a.diary.lines.join()}`)
  return faults
}

/** The network takes everything, and brings nothing any more. */
export function hush(seed: number): string[] {
  const net = new VirtualNet(seed)
  const [a, b] = [new Node(net, 'a', 'a:1'), new Node(net, 'b', 'b:1')]
  a.links.reach('b', 'b:1')
  net.run(100)
  net.passes = () => false
  for (const end of net.ends) end.mute = true
  net.run(30_000)
  return [a, b].flatMap(({ name, peers }) => peers.map((peer) => `${name} is linked to ${peer}`))
}
