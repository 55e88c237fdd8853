import { expect } from 'vitest'
import type { Stream } from '../../src/host.ts'
import { Reason } from '../../src/mqtt/reason.ts'
import { hears, join, publishEach } from '../standard/kit.ts'
import type { Version } from '../standard/wire.ts'
import type { TestBroker } from '../support/broker.ts'

// What the tests of the classes of abuse share. Each test is named by its row: `abuse 7: …` (docs/security.md has the rows).

/** Two clients who do nothing wrong. */
export interface Honest {
  /** A message of each QoS goes from one to the other, once; and nothing that was sent was taken for a fault of ours. */
  served(): Promise<void>
}

export async function honest(broker: TestBroker, version: Version = 5): Promise<Honest> {
  const from = await join(broker, 'honest-from', version)
  const to = await join(broker, 'honest-to', version)
  await to.subscribe('t', 0)
  return {
    async served() {
      const messages = ([0, 1, 2] as const).map((qos) => [`message ${qos}`, qos] as const)
      await publishEach(from, messages)
      expect(await hears(to, 3)).toEqual(messages.map(([payload]) => `t=${payload} q0`))
      await to.expectQuiet()
      expect(broker.log.filter(({ level }) => level === 'error')).toEqual([])
    },
  }
}

/** A peer without a socket, for what is done ten thousand times: what it is sent is kept, and taken at once. */
export class Peer implements Stream {
  readonly remote = 'a peer without a socket'
  readonly #sent: Uint8Array[] = []
  /** The broker has ended the connection. */
  ended = false

  /** All that it was sent. */
  get sent(): Buffer {
    return Buffer.concat(this.#sent)
  }

  write(bytes: Uint8Array, written: () => void): void {
    this.#sent.push(Uint8Array.from(bytes))
    queueMicrotask(written)
  }

  pause(): void {}

  end(): void {
    this.ended = true
  }

  destroy(): void {
    this.ended = true
  }
}

/** What a client is told when it subscribes to a filter that is not allowed. */
export function subscribeDenied(version: Version): number {
  return version === 5 ? Reason.notAuthorized : 0x80
}
