import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterStatus } from '../../src/admin/control.ts'
import { readToken, tokenFileOf } from '../../src/platform/admin-files.ts'
import { initCluster } from '../../src/platform/cluster-directory.ts'
import { freePort, main, Program, screen, temporary } from './program.ts'

/** Where a node lives; by default on the loopback of this machine. */
export interface Place {
  readonly host: string
  /** The words before a command, to run it there. */
  readonly inside: readonly string[]
}

const here: Place = { host: '127.0.0.1', inside: [] }
const pollMs = 50
/** A link between two that a third one hears both of is given up after some 20 s only. */
const mostTries = 1000
/** A session that is away keeps all of the load: dropping what is over its limit would be no loss of the cluster's. */
const env = { GODWIT_LIMITS_QUEUE_MESSAGES: '1000000' }

/** Real nodes of one cluster, each a process of its own. They end with the test. */
export class Cluster {
  readonly nodes: readonly Node[]

  private constructor(nodes: readonly Node[]) {
    this.nodes = nodes
  }

  /** Makes an identity and starts the nodes; done when all of them know each other. */
  static async start(
    names: readonly string[],
    placeOf: (name: string) => Place = () => here,
    flags: readonly string[] = [],
  ): Promise<Cluster> {
    const folder = temporary()
    const identity = join(folder, 'identity')
    await initCluster(identity)
    const nodes: Node[] = []
    for (const name of names) {
      const place = placeOf(name)
      const [link, client] = [await freePort(), await freePort()]
      nodes.push(new Node(name, place, { link, client }, join(folder, name), identity, flags))
    }
    for (const node of nodes) node.seeds = nodes.filter((other) => other !== node).map(({ linkAddress }) => linkAddress)
    const cluster = new Cluster(nodes)
    await Promise.all(nodes.map((node) => node.start()))
    await cluster.whole()
    return cluster
  }

  node(name: string): Node {
    return this.nodes.find((node) => node.name === name)!
  }

  /** Done when each node calls all the others alive, has a link to them, and nothing is written down for anybody. */
  async whole(): Promise<void> {
    for (const node of this.nodes)
      await node.until(
        'whole',
        ({ nodes }) =>
          nodes.length === this.nodes.length &&
          nodes.every(
            ({ state, version, handoff }) => state === 'self' || (state === 'alive' && version > 0 && !handoff),
          ),
      )
  }
}

export class Node {
  /** Link addresses of the others. */
  seeds: readonly string[] = []
  readonly data: string
  #program: Program | undefined = undefined

  constructor(
    readonly name: string,
    readonly place: Place,
    readonly ports: { readonly link: number; readonly client: number },
    data: string,
    readonly identity: string,
    readonly flags: readonly string[],
  ) {
    this.data = data
  }

  get linkAddress(): string {
    return `${this.place.host}:${this.ports.link}`
  }

  /** For clients. */
  get url(): string {
    return `mqtt://${this.place.host}:${this.ports.client}`
  }

  get program(): Program {
    return this.#program!
  }

  async start(): Promise<void> {
    const { host } = this.place
    const joins = this.seeds.flatMap((seed) => ['--join', seed])
    this.#program = this.#run([
      ...['start', '--cluster', this.identity, '--node', this.name, '--cluster-listen', this.linkAddress, ...joins],
      ...[
        '--listen',
        `tcp://${host}:${this.ports.client}`,
        '--admin',
        `${host}:0`,
        '--allow-public',
        '--data',
        this.data,
        ...this.flags,
      ],
    ])
    await screen(this.#program)
  }

  /** kill -9. */
  async kill(): Promise<void> {
    await this.program.kill()
  }

  /** SIGTERM; done when it has ended. */
  async stop(): Promise<void> {
    this.program.signal('SIGTERM')
    const { code, err } = await this.program.ended()
    if (code !== 0) throw new Error(`node ${this.name} ended with ${code}: ${err}`)
  }

  freeze(): void {
    this.program.signal('SIGSTOP')
  }

  thaw(): void {
    this.program.signal('SIGCONT')
  }

  /** The cluster as this node sees it. */
  async status(): Promise<ClusterStatus> {
    const url = readFileSync(join(this.data, 'admin'), 'utf8').trim()
    const authorization = `Bearer ${readToken(tokenFileOf(this.data))}`
    const answer = await fetch(`${url}/v1/cluster`, { headers: { authorization } })
    if (!answer.ok) throw new Error(`${this.name} has no status to tell: ${await answer.text()}`)
    return (await answer.json()) as ClusterStatus
  }

  /** Done when the node's status is as `done` wants it; the test's own time limit ends the wait. */
  async until(what: string, done: (status: ClusterStatus) => boolean): Promise<void> {
    for (let tries = 0; ; tries++) {
      const status = await this.status()
      if (done(status)) return
      if (tries === mostTries) throw new Error(`${this.name} did not become ${what}: ${JSON.stringify(status.nodes)}`)
      await new Promise((resolve) => setTimeout(resolve, pollMs))
    }
  }

  #run(words: readonly string[]): Program {
    const [program, ...args] = [...this.place.inside, process.execPath, main, ...words]
    return new Program(program!, args, { env })
  }
}
