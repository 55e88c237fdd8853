import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { afterEach } from 'vitest'

// A network of this machine's own: each node lives in a network namespace, and a bridge joins them. The test itself stands
// at the bridge, and can reach them all.
//
//   test, 10.213.N.254 ── bridge ─┬─ a, 10.213.N.1
//                                 ├─ b, 10.213.N.2
//                                 └─ c, 10.213.N.3

/** Begins the names of all that is made, before the process that makes it, and a capital for each network of it. */
const mark = 'gw'
const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
const nowhere = '02:00:00:00:00:ff'

const open = new Set<Network>()
let made = 0
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
    sweep()
    this.#tag = `${mark}${process.pid.toString(36)}${letters[made++ % letters.length]}`
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
    for (const node of this.#nodes) {
      // A space lives on for as long as somebody is in it; the cable is gone at once.
      attempt('link', 'del', this.#port(node))
      attempt('netns', 'del', this.#space(node))
    }
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

/** Removes what a run that died has left. */
function sweep(): void {
  const links = execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }).matchAll(/^\d+: (gw[^:@]+)/gm)
  const spaces = execFileSync('ip', ['netns'], { encoding: 'utf8' }).matchAll(/^(gw\S+)/gm)
  const isOver = (name: string) => {
    const pid = parseInt(/^gw([0-9a-z]+)[A-Z]/.exec(name)?.[1] ?? '', 36)
    return !Number.isNaN(pid) && !existsSync(`/proc/${pid}`)
  }
  for (const [, name] of links) if (isOver(name!)) attempt('link', 'del', name!)
  for (const [, name] of spaces) if (isOver(name!)) attempt('netns', 'del', name!)
}

/** On the way out: what is not there need not go. */
function attempt(...words: string[]): void {
  try {
    ip(...words)
  } catch {
    // It was never made.
  }
}
