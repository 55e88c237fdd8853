import { connect, type MqttClient } from 'mqtt'
import { describe, expect, test } from 'vitest'
import { Cluster } from '../support/cluster.ts'
import { Load } from '../support/load.ts'
import { Network } from './network.ts'

// Three real nodes, each in a network of its own, under durable load: whatever happens between them, what was
// acknowledged arrives, and in the end there is one of each. `npm run test:net`, as root; with PARTITIONS=100 so many, one after
// the other, on the same nodes.

const partitions = Number(process.env['PARTITIONS'] ?? 0)
const mostToHealMs = 10_000

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

/** A client that comes to every node at once, with the same id: both sides of a partition may take it in. */
class Rover {
  readonly #clients: readonly MqttClient[]

  constructor({ nodes }: Cluster) {
    this.#clients = nodes.map(({ url }) =>
      connect(url, {
        clientId: 'rover',
        protocolVersion: 5,
        clean: false,
        properties: { sessionExpiryInterval: 3600 },
        reconnectPeriod: 0,
      }).on('error', () => {}),
    )
  }

  /** Done when each has been let in, or sent away. */
  async asked(): Promise<void> {
    await Promise.all(
      this.#clients.map(
        (client) => new Promise<void>((resolve) => void client.once('connect', () => resolve()).once('close', resolve)),
      ),
    )
  }

  leave(): void {
    for (const client of this.#clients) client.end(true)
  }
}

class Scene {
  readonly healedMs: number[] = []

  private constructor(
    readonly network: Network,
    readonly cluster: Cluster,
    readonly load: Load,
  ) {}

  static async on(run: (scene: Scene) => Promise<void>): Promise<void> {
    const network = new Network(names)
    const place = (name: string) => ({ host: network.address(name), inside: network.inside(name) })
    const cluster = await Cluster.start(names, place, [], { GODWIT_CLUSTER_ABSENT_OWNER: 'fresh' })
    const load = await Load.begin(cluster.nodes)
    try {
      await load.more(300)
      await run(new Scene(network, cluster, load))
      await cluster.whole()
      await load.more(300)
      expect(await load.verdict()).toEqual([])
    } finally {
      load.kill()
    }
  }

  /** It comes, and it goes: then everybody agrees on everything. */
  async pass({ name, begin, end }: Trouble): Promise<void> {
    begin(this.network)
    await this.cluster.node('a').until('apart', ({ nodes }) => nodes.some(({ handoff }) => handoff))
    const rover = new Rover(this.cluster)
    await rover.asked()
    // Both sides serve on.
    await this.load.more(600)
    end(this.network)
    const startMs = performance.now()
    await this.cluster.whole()
    await this.cluster.agreed()
    // One owner for each: of the clients of the load, and of the rover.
    await this.cluster.until('one of each', (nodes) => {
      const sessions = nodes.reduce((sum, node) => sum + node.sessions, 0)
      return sessions === this.load.clients + 1
    })
    const tookMs = performance.now() - startMs
    this.healedMs.push(tookMs)
    rover.leave()
    expect(tookMs, name).toBeLessThan(mostToHealMs)
  }
}

describe('nothing that was acknowledged is lost, and there is one of each', () => {
  if (partitions > 0)
    test(`${partitions} partitions, one after the other`, { timeout: 60_000 + partitions * 60_000 }, () =>
      Scene.on(async (scene) => {
        for (let count = 0; count < partitions; count++) await scene.pass(troubles[count % troubles.length]!)
        const { healedMs } = scene
        healedMs.sort((a, b) => a - b)
        const [median, most] = [healedMs[healedMs.length >> 1]!, healedMs.at(-1)!]
        process.stderr.write(`healed after, ms: median ${median.toFixed(0)}, max ${most.toFixed(0)}\n`)
      }),
    )
  else
    for (const trouble of troubles)
      test(trouble.name, { timeout: 120_000 }, () => Scene.on((scene) => scene.pass(trouble)))

  test('a slow link', { timeout: 120_000 }, () =>
    Scene.on(async ({ network, load }) => {
      network.slow('b', 2000)
      await load.more(600)
    }),
  )
})
