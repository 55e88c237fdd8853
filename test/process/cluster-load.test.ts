import { expect, test } from 'vitest'
import { Cluster } from '../support/cluster.ts'
import { Load } from '../support/load.ts'

// Three real nodes under durable load, and what befalls nodes: once all are back, nothing that was acknowledged is lost.

async function underLoad(trouble: (cluster: Cluster, load: Load) => Promise<void>): Promise<void> {
  const cluster = await Cluster.start(['a', 'b', 'c'])
  const load = await Load.begin(cluster.nodes)
  try {
    await load.more(300)
    await trouble(cluster, load)
    await cluster.whole()
    await load.more(300)
    expect(await load.verdict()).toEqual([])
  } finally {
    load.kill()
  }
}

test('kill -9 of one after the other', { timeout: 120_000 }, () =>
  underLoad(async (cluster, load) => {
    for (const node of cluster.nodes) {
      await node.kill()
      await load.more(200)
      await node.start()
      await cluster.whole()
    }
  }),
)

test('kill -9 of two at once, and of all three', { timeout: 120_000 }, () =>
  underLoad(async (cluster, load) => {
    const [a, b, c] = cluster.nodes
    await Promise.all([a!.kill(), b!.kill()])
    await load.more(200)
    await Promise.all([a!.start(), b!.start()])
    await load.more(200)
    await Promise.all([a!.kill(), b!.kill(), c!.kill()])
    await Promise.all([a!.start(), b!.start(), c!.start()])
  }),
)

test('SIGSTOP, until the others give it up, and SIGCONT', { timeout: 120_000 }, () =>
  underLoad(async (cluster, load) => {
    const stopped = cluster.node('b')
    stopped.freeze()
    await cluster
      .node('a')
      .until('without b', ({ nodes }) => nodes.some(({ node, handoff }) => node === 'b' && handoff))
    await load.more(200)
    stopped.thaw()
  }),
)

test('a rolling restart', { timeout: 120_000 }, () =>
  underLoad(async (cluster, load) => {
    for (const node of cluster.nodes) {
      await node.stop()
      await load.more(100)
      await node.start()
      await cluster.whole()
    }
  }),
)
