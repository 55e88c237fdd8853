import { expect, test } from 'vitest'
import { Mesh } from './gossip-mesh.ts'

test('smoke', () => {
  const mesh = new Mesh(1).start(3)
  mesh.nodes[0]!.gossip.own.set('fa', 1)
  mesh.nodes[1]!.gossip.own.set('fb', 2)
  expect(mesh.until(() => mesh.equal, 5000)).toBeLessThan(50)
  for (let i = 0; i < 20000; i++) mesh.nodes[0]!.gossip.own.set('fa' + i, 1)
  expect(mesh.until(() => mesh.equal, 5000)).toBeLessThan(5000)
  mesh.link(() => false)
  for (let i = 0; i < 100000; i++) mesh.nodes[0]!.gossip.own.set('fa' + (i % 30000), 2)
  mesh.run(100)
  mesh.link(() => true)
  const ms = mesh.until(() => mesh.equal, 5000)
  expect(ms).toBeLessThan(5000)
})
