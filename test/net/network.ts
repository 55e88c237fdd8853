import { execFileSync } from 'node:child_process'
import { afterEach } from 'vitest'

// A network of this machine's own: each node lives in a network namespace, and a bridge joins them. The test itself stands
// at the bridge, and can reach them all.
//
//   test, 10.213.N.254 ── bridge ─┬─ a, 10.213.N.1
//                                 ├─ b, 10.213.N.2
//                                 └─ c, 10.213.N.3

const nowhere = '02:00:00:00:00:ff'

const open = new Set<Network>()
afterEach(() => {
  for (const network of open) network.close()
})
process.on('exit', () => {
  for (const network of open) network.close()
})

/** Needs root, and iproute2. It is gone when the test ends. */
export class Network {
  readonly #tag: string
  readonly #prefix: string
  readonly #nodes: readonly string[]

  /** @param nodes names of a letter or two */
  constructor(nodes: readonly string[]) {
    const tag = (process.pid % 0x10000).toString(36)
    this.#tag = `gw${tag}`
    this.#prefix = `10.213.${process.pid % 250}`
    this.#nodes = nodes
    open.add(this)
    ip('link', 'add', this.#bridge, 'type', 'bridge')
    ip('addr', 'add', `${this.#prefix}.254/24`, 'dev', this.#bridge)
    ip('link', 'set', this.#bridge, 'up')
    for (const node of nodes) {
      const space = this.#space(node)
      ip('netns', 'add', space)
      ip('link', 'add', this.#port(node), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space)
      ip('link', 'set', this.#port(node), 'master', this.#bridge, 'up')
      ip('-n', space, 'addr', 'add', `${this.address(node)}/24`, 'dev', 'eth0')
      ip('-n', space, 'link', 'set', 'eth0', 'up')
      ip('-n', space, 'link', 'set', 'lo', 'up')
    }
  }

  address(node: string): string {
    return `${this.#prefix}.${this.#nodes.indexOf(node) + 1}`
  }

  /** The words that run a program where `node` lives. */
  inside(node: string): string[] {
    return ['ip', 'netns', 'exec', this.#space(node)]
  }

  /** What `from` sends to `to` gets lost, and nobody is told; the other way stays open. */
  cut(from: string, to: string): void {
    ip(
      '-n',
      this.#space(from),
      'neigh',
      'replace',
      this.address(to),
      'lladdr',
      nowhere,
      'dev',
      'eth0',
      'nud',
      'permanent',
    )
  }

  mend(from: string, to: string): void {
    ip('-n', this.#space(from), 'neigh', 'del', this.address(to), 'dev', 'eth0')
  }

  /** No one of `left` reaches anyone of `right`, and the other way round. */
  split(left: readonly string[], right: readonly string[]): void {
    this.#pairs(left, right, (one, other) => this.cut(one, other))
  }

  heal(left: readonly string[], right: readonly string[]): void {
    this.#pairs(left, right, (one, other) => this.mend(one, other))
  }

  /** What `node` sends leaves at so many kilobits a second. */
  slow(node: string, kilobits: number): void {
    const rate = ['root', 'tbf', 'rate', `${kilobits}kbit`, 'burst', '16kb', 'latency', '200ms']
    ip('netns', 'exec', this.#space(node), 'tc', 'qdisc', 'replace', 'dev', 'eth0', ...rate)
  }

  close(): void {
    open.delete(this)
    for (const node of this.#nodes) attempt('netns', 'del', this.#space(node))
    attempt('link', 'del', this.#bridge)
  }

  get #bridge(): string {
    return `${this.#tag}br`
  }

  #space(node: string): string {
    return `${this.#tag}-${node}`
  }

  #port(node: string): string {
    return `${this.#tag}${node}`
  }

  #pairs(left: readonly string[], right: readonly string[], change: (from: string, to: string) => void): void {
    for (const one of left)
      for (const other of right) {
        change(one, other)
        change(other, one)
      }
  }
}

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] })
}

/** On the way out: what is not there need not go. */
function attempt(...words: string[]): void {
  try {
    ip(...words)
  } catch {
    // It was never made.
  }
}
