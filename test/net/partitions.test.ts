import { describe, expect, test } from 'vitest'
import { Cluster } from '../support/cluster.ts'
import { Load } from '../support/load.ts'
import { Network } from './network.ts'

// Three real nodes, each in a network of its own, under durable load: whatever happens between them, what was
// acknowledged arrives. `npm run test:net`, as root.

interface Trouble {
  readonly name: string
  /** It begins, and later ends. */
  readonly begin: (network: Network) => void
  readonly end: (network: Network) => void
}

const troubles: readonly Trouble[] = [
  {
    name: 'one node is cut off',
    begin: (network) => network.split(['a', 'b'], ['c']),
    end: (network) => network.heal(['a', 'b'], ['c']),
  },
  {
    name: 'two nodes hear each other no more, a third hears both',
    begin: (network) => network.split(['a'], ['c']),
    end: (network) => network.heal(['a'], ['c']),
  },
  {
    name: 'equal thirds',
    begin: (network) => {
      network.split(['a'], ['b', 'c'])
      network.split(['b'], ['c'])
    },
    end: (network) => {
      network.heal(['a'], ['b', 'c'])
      network.heal(['b'], ['c'])
    },
  },
  {
    name: 'a hears c, c does not hear a',
    begin: (network) => network.cut('a', 'c'),
    end: (network) => network.mend('a', 'c'),
  },
]

const names = ['a', 'b', 'c']

async function onNetwork(run: (network: Network, cluster: Cluster, load: Load) => Promise<void>): Promise<void> {
  const network = new Network(names)
  const cluster = await Cluster.start(names, (name) => ({ host: network.address(name), inside: network.inside(name) }))
  const load = await Load.begin(cluster.nodes)
  try {
    await load.more(300)
    await run(network, cluster, load)
    await cluster.whole()
    await load.more(300)
    expect(await load.verdict()).toEqual([])
  } finally {
    load.kill()
  }
}

describe('nothing that was acknowledged is lost', () => {
  for (const { name, begin, end } of troubles)
    test(name, { timeout: 120_000 }, () =>
      onNetwork(async (network, cluster, load) => {
        begin(network)
        await cluster.node('a').until('apart', ({ nodes }) => nodes.some(({ handoff }) => handoff))
        // Both sides serve on.
        await load.more(600)
        end(network)
      }),
    )

  test('a slow link', { timeout: 120_000 }, () =>
    onNetwork(async (network, _cluster, load) => {
      network.slow('b', 2000)
      await load.more(600)
    }),
  )
})
