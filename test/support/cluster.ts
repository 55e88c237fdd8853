import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterStatus, Verified } from '../../src/admin/control.ts'
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
const roomy = { GODWIT_LIMITS_QUEUE_MESSAGES: '1000000' }

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
    env: Readonly<Record<string, string>> = {},
  ): Promise<Cluster> {
    const folder = temporary()
    const identity = join(folder, 'identity')
    await initCluster(identity)
    const nodes: Node[] = []
    for (const name of names) {
      const place = placeOf(name)
      const [link, client] = [await freePort(), await freePort()]
      nodes.push(new Node(name, place, { link, client }, join(folder, name), identity, flags, { ...roomy, ...env }))
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

  /** Done when all nodes have the same tables. */
  async agreed(): Promise<void> {
    for (const node of this.nodes)
      await poll(
        () => node.verified(),
        ({ silent, differences }) => silent.length === 0 && differences.length === 0,
        `${node.name} did not agree with the others`,
      )
  }

  /** Done when what all nodes say of themselves is as `done` wants it. */
  async until(what: string, done: (statuses: readonly ClusterStatus[]) => boolean): Promise<void> {
    await poll(() => Promise.all(this.nodes.map((node) => node.status())), done, `they did not become ${what}`)
  }
}

/** Asks again and again until the answer is as `done` wants it; the test's own time limit ends the wait. */
async function poll<T>(ask: () => Promise<T>, done: (answer: T) => boolean, otherwise: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    const answer = await ask()
    if (done(answer)) return
    if (tries === mostTries) throw new Error(`${otherwise}: ${JSON.stringify(answer)}`)
    await new Promise((resolve) => setTimeout(resolve, pollMs))
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
    readonly env: Record<string, string>,
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
  status(): Promise<ClusterStatus> {
    return this.#ask('/v1/cluster')
  }

  /** Its tables, compared with those of the others. */
  async verified(): Promise<Verified> {
    return (await this.#ask<{ verified: Verified }>('/v1/cluster/routes?verify')).verified
  }

  /** Done when the node's status is as `done` wants it. */
  async until(what: string, done: (status: ClusterStatus) => boolean): Promise<void> {
    await poll(() => this.status(), done, `${this.name} did not become ${what}`)
  }

  async #ask<T>(path: string): Promise<T> {
    const url = readFileSync(join(this.data, 'admin'), 'utf8').trim()
    const authorization = `Bearer ${readToken(tokenFileOf(this.data))}`
    const answer = await fetch(`${url}${path}`, { headers: { authorization } })
    if (!answer.ok) throw new Error(`${this.name} does not tell ${path}: ${await answer.text()}`)
    return (await answer.json()) as T
  }

  #run(words: readonly string[]): Program {
    const [program, ...args] = [...this.place.inside, process.execPath, main, ...words]
    return new Program(program!, args, { env: this.env })
  }
}
