import { describe, expect, test } from 'vitest'
import { FrameType } from '../../src/cluster/wire.ts'
import { Node, VirtualNet } from './links-net.ts'

function pair(seed: number, options: ConstructorParameters<typeof Node>[3] = {}) {
  const net = new VirtualNet(seed)
  const a = new Node(net, 'a', 'a:1', options)
  const b = new Node(net, 'b', 'b:1', options)
  return { net, a, b }
}

describe('a link', () => {
  test('comes up when one dials a seed, and both know the name then', () => {
    const { net, a, b } = pair(1)
    a.links.join('b:1')
    net.run(100)
    expect([a.peers, b.peers]).toEqual([['b'], ['a']])
    expect([a.links.version('b'), b.links.version('a'), a.links.version('c')]).toEqual([2, 2, 0])
    expect(a.diary.lines).toEqual(['+b'])
    expect([...a.complaints, ...b.complaints]).toEqual([])
  })

  test('is dialled again when the peer is back, without the seed having been forgotten', () => {
    const { net, a, b } = pair(2)
    a.links.join('b:1')
    net.run(100)
    b.kill()
    net.run(10_000)
    expect(a.peers).toEqual([])
    expect(a.refused.length).toBeGreaterThan(5)
    const again = new Node(net, 'b', 'b:1', { incarnation: 2 })
    net.run(1500)
    expect([a.peers, again.peers]).toEqual([['b'], ['a']])
    expect(a.diary.lines).toEqual(['+b', '-b', '+b'])
    // One line for each time that it was gone, however often it was dialled.
    expect(a.complaints).toEqual(['cannot reach a node; trying again'])
  })

  test('carries frames of any size, and of each type only to its part', () => {
    const { net, a, b } = pair(3)
    a.links.reach('b', 'b:1')
    net.run(100)
    for (const bytes of [0, 1, 5, 4000, 65_530, 70_000, 1_000_000, 3, 200_000]) a.send('b', bytes)
    a.send('b', 10, FrameType.ping)
    net.run(2000)
    expect(b.diary.runs[0]!.numbers).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  })

  test('sends in one write what a turn has brought together', () => {
    const { net, a, b } = pair(9)
    a.links.reach('b', 'b:1')
    net.run(100)
    const [near] = net.ends as [(typeof net.ends)[0]]
    let writes = 0
    const write = near.write.bind(near)
    near.write = (bytes, written) => {
      writes++
      write(bytes, written)
    }
    for (let frames = 0; frames < 100; frames++) a.send('b', 200)
    net.run(20)
    expect([writes, b.diary.runs[0]!.numbers.length]).toEqual([1, 100])
  })

  test('is not wanted any more', () => {
    const { net, a, b } = pair(4)
    a.links.reach('b', 'b:1')
    net.run(100)
    a.links.forget('b')
    net.run(5000)
    expect([a.peers, b.peers]).toEqual([[], []])
    b.links.reach('a', 'a:1')
    net.run(1000)
    expect([a.peers, b.peers]).toEqual([['b'], ['a']])
  })

  test('says which features the peer has', () => {
    const { net, a, b } = pair(5, { features: ['x', 'y'] })
    a.links.reach('b', 'b:1')
    net.run(100)
    expect([a.links.features('b'), b.links.features('c')]).toEqual([['x', 'y'], []])
  })

  test('a name that moves to another address is dialled there', () => {
    const { net, a } = pair(6)
    a.links.reach('c', 'nobody:1')
    net.run(1000)
    new Node(net, 'c', 'c:1')
    a.links.reach('c', 'c:1')
    net.run(500)
    expect(a.peers).toEqual(['c'])
  })

  for (const [who, address] of [
    ['we ourselves', 'a:1'],
    ['a node that we have a link to', 'b:1'],
    ['a node that we have none to', 'd:1'],
  ] as const)
    test(`an address that another has now, ${who}: said once; and its node is dialled where it turns up`, () => {
      const { net, a } = pair(8)
      new Node(net, 'd', 'd:1')
      a.links.reach('b', 'b:1')
      net.run(100)
      a.links.reach('c', address)
      net.run(600_000)
      expect(a.complaints).toEqual(['another node answers there'])
      new Node(net, 'c', 'c:1')
      a.links.reach('c', 'c:1')
      net.run(10_000)
      expect(a.peers).toContain('c')
    })

  test('a stopped node sends what waits, and dials nobody', () => {
    const { net, a, b } = pair(7)
    a.links.reach('b', 'b:1')
    net.run(100)
    a.send('b', 100)
    a.links.stop()
    net.run(10_000)
    expect(b.diary.runs[0]!.numbers).toEqual([0])
    expect(b.diary.lines).toEqual(['+a', '-a'])
    expect(net.ends.length).toBe(2)
  })
})

describe('who is refused', () => {
  const cases: [string, ConstructorParameters<typeof Node>[3], string][] = [
    ['another cluster', { clusterId: 'other' }, 'it is of cluster other, and not of cluster'],
    [
      'a node of versions that we do not speak',
      { wire: { oldest: 3, newest: 4 } },
      'b speaks wire versions 3 to 4, and a speaks versions 1 to 2',
    ],
    ['another name than its certificate says', { self: 'z' }, 'it calls itself z, and its certificate says b'],
  ]
  for (const [what, options, why] of cases)
    test(`${what}: neither side ever counts as linked, and each says so once`, () => {
      const net = new VirtualNet(10)
      const a = new Node(net, 'a', 'a:1')
      const b = new Node(net, 'b', 'b:1', options)
      a.links.reach('b', 'b:1')
      b.links.reach('a', 'a:1')
      net.run(60_000)
      expect([a.diary.lines, b.diary.lines]).toEqual([[], []])
      expect(a.complaints).toContain(why)
      // Each hears of the other's refusal, too, where that comes first.
      for (const { complaints } of [a, b]) expect([1, 2]).toContain(new Set(complaints).size)
      expect(net.ends.length).toBeLessThan(100)
      expect(a.links.ended.refused).toBeGreaterThan(3)
    })

  test('versions N and N-1 talk, in the older one', () => {
    const net = new VirtualNet(11)
    const a = new Node(net, 'a', 'a:1', { wire: { oldest: 1, newest: 1 } })
    const b = new Node(net, 'b', 'b:1', { wire: { oldest: 1, newest: 2 } })
    a.links.reach('b', 'b:1')
    net.run(100)
    expect([a.links.version('b'), b.links.version('a')]).toEqual([1, 1])
  })

  test('ourselves: a list of seeds may name everybody', () => {
    const { net, a } = pair(12)
    a.links.join('a:1')
    a.links.join('b:1')
    net.run(60_000)
    expect(a.peers).toEqual(['b'])
    expect(a.complaints).toEqual([])
    expect(net.ends.length).toBe(4)
  })

  test('an earlier start of a node that has been here again since', () => {
    const net = new VirtualNet(13)
    const a = new Node(net, 'a', 'a:1')
    const late = new Node(net, 'b', 'b:1', { incarnation: 7 })
    late.links.join('a:1')
    net.run(100)
    const early = new Node(net, 'b', 'b:2', { incarnation: 5 })
    early.links.join('a:1')
    net.run(20_000)
    expect(a.diary.lines).toEqual(['+b'])
    const why = 'another node, at b:1, is called b, too, and has started later: each needs a name of its own'
    expect(a.complaints).toEqual([why])
    expect(early.complaints).toEqual([`a refuses us: ${why}`])
    expect(early.diary.lines).toEqual([])
  })

  test('two nodes of one name', () => {
    const net = new VirtualNet(14)
    const a = new Node(net, 'a', 'a:1', { incarnation: 3 })
    const twin = new Node(net, 'a', 'a:2', { incarnation: 4 })
    twin.links.join('a:1')
    net.run(20_000)
    expect(a.complaints).toEqual(['the node at a:2 is called a, too: each needs a name of its own'])
    expect(twin.complaints.length).toBeGreaterThan(0)
    expect([a.peers, twin.peers]).toEqual([[], []])
  })

  test('a node that has started anew takes its place, although we still hold its old link', () => {
    const { net, a, b } = pair(15)
    a.links.reach('b', 'b:1')
    net.run(100)
    // Its machine lost power: nobody was told.
    for (const end of net.ends) end.mute = true
    b.running = false
    const again = new Node(net, 'b', 'b:1', { incarnation: 2 })
    again.links.join('a:1')
    net.run(100)
    expect(a.diary.lines).toEqual(['+b', '-b', '+b'])
    expect(again.peers).toEqual(['a'])
  })
})

describe('a half-open link', () => {
  test('is replaced when the peer, who has lost it, dials again', () => {
    for (const [dialler, other] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      const { net, a, b } = pair(20)
      const nodes = { a, b }
      nodes[dialler].links.reach(other, `${other}:1`)
      net.run(10_000)
      const [near, far] = net.ends as [(typeof net.ends)[0], (typeof net.ends)[0]]
      for (const [end, node] of [
        [near, dialler],
        [far, other],
      ] as const) {
        end.mute = true
        if (node === 'b') end.close(new Error('reset'))
      }
      b.links.reach('a', 'a:1')
      net.run(1000)
      expect([a.peers, b.peers]).toEqual([['b'], ['a']])
      expect(a.diary.lines).toEqual(['+b', '-b', '+b'])
    }
  })

  test('is noticed by its silence', () => {
    const { net, a } = pair(21)
    a.links.reach('b', 'b:1')
    net.run(100)
    net.passes = () => false
    for (const end of net.ends) end.mute = true
    net.run(30_000)
    expect(a.diary.lines).toEqual(['+b', '-b'])
    expect(a.links.ended.silent).toBe(1)
    expect(a.complaints[0]).toBe('nothing for 6 s')
  })

  test('a quiet one lives on signs of life', () => {
    const { net, a, b } = pair(22)
    a.links.reach('b', 'b:1')
    net.run(3_600_000)
    expect([a.diary.lines, b.diary.lines]).toEqual([['+b'], ['+a']])
  })

  test('a process that stood still does not blame its peers', () => {
    const { net, a, b } = pair(23)
    a.links.reach('b', 'b:1')
    net.run(1000)
    net.time.stall(120_000)
    net.run(5000)
    expect([a.diary.lines, b.diary.lines]).toEqual([['+b'], ['+a']])
  })

  test('a peer that never greets is closed', () => {
    const { net, a, b } = pair(24)
    net.opened = (dialler) => (dialler.other.mute = true)
    a.links.reach('b', 'b:1')
    net.run(8000)
    expect(a.links.ended.ungreeted + b.links.ended.ungreeted).toBeGreaterThan(0)
    expect([a.diary.lines, b.diary.lines]).toEqual([[], []])
  })
})

describe('bounds', () => {
  test('credit is used up, and comes back as the peer has handled it; other frames go all the same', () => {
    const { net, a, b } = pair(30, { limits: { creditBytes: 10_000 } })
    a.links.reach('b', 'b:1')
    net.run(100)
    let sent = 0
    for (; !a.links.congested('b'); sent++) a.send('b', 1000)
    expect(sent).toBe(10)
    expect(a.links.credit('b')).toBe(0)
    a.send('b', 100, FrameType.acknowledged)
    net.run(1000)
    expect(b.diary.runs[0]!.numbers.length).toBe(11)
    expect(a.diary.lines).toEqual(['+b', '~b'])
    expect(a.links.credit('b')).toBeGreaterThan(7500)
  })

  test('windows of different sizes: the smaller one counts, and nobody waits for ever', () => {
    const net = new VirtualNet(31)
    const a = new Node(net, 'a', 'a:1', { limits: { creditBytes: 2000 } })
    const b = new Node(net, 'b', 'b:1', { limits: { creditBytes: 4_000_000 } })
    a.links.reach('b', 'b:1')
    net.run(100)
    let count = 0
    for (let rounds = 0; rounds < 100; rounds++) {
      for (; !a.links.congested('b'); count++) a.send('b', 500)
      net.run(100)
    }
    expect(b.diary.runs[0]!.numbers.length).toBe(count)
    expect(count).toBeGreaterThan(350)
  })

  test('a peer that takes nothing any more', () => {
    const { net, a } = pair(32, { limits: { unsentBytes: 1_000_000 } })
    a.links.reach('b', 'b:1')
    net.run(100)
    for (const end of net.ends) end.stuck = true
    for (let turn = 0; turn < 30; turn++) {
      a.send('b', 50_000, FrameType.fence)
      net.run(1)
    }
    expect(a.links.ended.overfull).toBe(1)
    expect(a.diary.lines.slice(0, 2)).toEqual(['+b', '-b'])
  })

  test('a frame that is too long breaks the link before it is gathered', () => {
    const { net, a, b } = pair(33, { limits: { frameBytes: 10_000 } })
    a.links.reach('b', 'b:1')
    net.run(100)
    a.send('b', 9_990)
    a.send('b', 10_001)
    net.run(200)
    expect(b.links.ended.malformed).toBe(1)
    expect(b.complaints[0]).toBe('a frame of 10003 bytes, where 10000 are the most that is taken')
    expect(b.diary.runs[0]!.numbers).toEqual([0])
  })

  test('a frame is begun where the last one has not ended: our own mistake', () => {
    const { net, a } = pair(34)
    a.links.reach('b', 'b:1')
    net.run(100)
    a.links.begin('b', FrameType.ping)
    expect(() => a.links.begin('b', FrameType.ping)).toThrow('before the last one had ended')
  })
})
