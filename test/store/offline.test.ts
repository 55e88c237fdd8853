import { expect, test } from 'vitest'
import { type AuditReport, audit } from '../../src/store/audit.ts'
import { headPart, parseSessionKey, sessionPrefix } from '../../src/store/image.ts'
import { type OfflineStore, readStore } from '../../src/store/offline.ts'
import { World } from './model.ts'
import { aliveIn, placesOf } from './places.ts'

/** The model's. */
const storeId = 0x5eed

function readWorld({ disk, index }: World): OfflineStore {
  return readStore({ disk, entries: index.entries(), storeId })
}

/** A world that reads its store offline before each start: it must say what the start then finds, and change nothing. */
class ReadWorld extends World {
  override open(): void {
    const before = picture(this)
    const store = readWorld(this)
    expect(audit(store).damage).toEqual([])
    expect(picture(this)).toEqual(before)
    super.open()
    this.compare(store)
  }

  compare({ sessions, retained }: OfflineStore): void {
    const { recovered } = this
    expect([...sessions.keys()].sort()).toEqual(recovered.sessions.map(({ number }) => number).sort())
    for (const session of recovered.sessions) {
      const { head, subscriptions, incoming, queue } = sessions.get(session.number)!
      const { clientId, epoch, expirySeconds, username, will } = session
      expect({ ...head }).toMatchObject({ clientId, epoch, expirySeconds, username, will })
      expect(subscriptions).toEqual(new Map(session.subscriptions))
      expect([...incoming].sort()).toEqual([...session.incoming].sort())
      expect(placesOf(queue.places)).toEqual(placesOf(session.queue))
      expect(queue.messages).toBe(aliveIn(session.queue).length)
    }
    const kept = recovered.retained.filter(({ payloadLength }) => payloadLength > 0)
    expect([...retained.keys()].sort()).toEqual(kept.map(({ topic }) => topic.name).sort())
  }
}

/** All bytes of a disk. */
function picture({ disk }: World): Map<string, string> {
  const names = ['log', 'quarantine'].flatMap((folder) => disk.list(folder).map((name) => `${folder}/${name}`))
  return new Map(names.map((name) => [name, disk.contentOf(name)!.toString('base64')]))
}

/** Lives of a broker that ends with a crash, and is started again after the last one if `again`. */
function live<W extends World>(world: W, lives: number): W {
  for (let life = 0; life < lives; life++) {
    for (let deeds = world.dice.below(200); deeds > 0; deeds--) world.act()
    world.fall(world.dice.pick(['kill', 'crash']))
  }
  return world
}

function options(seed: number) {
  return { segmentBytes: 2048 << (seed % 3), checkpointBytes: 1 << (10 + (seed % 8)), cacheBytes: 16_384 }
}

for (let seed = 0; seed < 15; seed++)
  test(`after any end, it says what a start finds (seed ${seed})`, () => {
    live(new ReadWorld(seed, { ...options(seed), collectBytesPerSecond: 1e6 }), 4)
  })

/** A world with some of everything, at rest. */
function settledWorld(seed: number): World {
  const world = live(new World(seed, options(seed)), 2)
  for (let deeds = 0; deeds < 100; deeds++) world.act()
  world.run(10_000)
  return world
}

function audited(world: World): { store: OfflineStore; report: AuditReport } {
  const store = readWorld(world)
  return { store, report: audit(store) }
}

test('every byte of the log that changes is noticed', () => {
  const world = settledWorld(3)
  expect(audited(world).report.damage).toEqual([])
  for (const name of world.disk.list('log').map((own) => `log/${own}`)) {
    const whole = Buffer.from(world.disk.contentOf(name)!)
    // A prime: it comes to every field of a frame.
    for (let at = 0; at < whole.length; at += 53) {
      world.disk.damage(name, at)
      const { store, report } = audited(world)
      // What is broken at the very end cannot be told from what was never finished.
      expect(report.damage.length > 0 || store.tornBytes > 0, `${name} at ${at}`).toBe(true)
      world.disk.put(name, whole)
    }
  }
})

test('a last file in which nothing is whole is torn, and stays', () => {
  const world = settledWorld(0)
  const { report } = audited(world)
  const last = parseInt(report.segments.at(-1)!.name.slice(4), 16)
  const next = (last + options(0).segmentBytes).toString(16).padStart(16, '0')
  world.disk.put(`log/${next}.seg`, Buffer.alloc(100))
  const before = picture(world)
  const again = audited(world)
  expect([again.store.tornBytes, again.report.damage]).toEqual([100, []])
  expect(picture(world)).toEqual(before)
})

test('a missing file is named, with all that were to get something of it', () => {
  let lost = 0
  for (let seed = 0; seed < 10; seed++) {
    const world = settledWorld(seed)
    const { store, report } = audited(world)
    for (const { name } of report.segments) {
      const content = Buffer.from(world.disk.contentOf(name)!)
      const first = parseInt(name.slice(4), 16)
      const waiting = new Map<string, number>()
      for (const { head, queue } of store.sessions.values())
        for (const { lsn } of aliveIn(queue.places))
          // The log alone knows of what came behind the index.
          if (lsn >= first && lsn < first + content.length && lsn < store.replayFrom)
            waiting.set(head.clientId, (waiting.get(head.clientId) ?? 0) + 1)
      world.disk.remove(name)
      const after = audited(world)
      for (const [clientId, count] of waiting) {
        lost += count
        // What else the file said may have been that some of them were gone.
        const found = after.report.damage.reduce((sum, { copies }) => sum + (copies.get(clientId) ?? 0), 0)
        expect(found, `${name} of seed ${seed}`).toBeGreaterThanOrEqual(count)
      }
      world.disk.put(name, content)
    }
  }
  expect(lost).toBeGreaterThan(100)
})

test('whatever an entry of the index is cut to, it is told by its key or makes sense; the rest is read', () => {
  const world = settledWorld(5)
  const entries = [...world.index.entries()]
  let told = 0
  for (const [at, [key, value]] of entries.entries())
    for (let length = 0; length < value.length; length += 3) {
      const cut = entries.with(at, [key, value.subarray(0, length)])
      const store = readStore({ disk: world.disk, entries: cut, storeId })
      const { damage } = audit(store)
      const named = damage.some(({ place }) => place === `index, ${JSON.stringify(key)}`)
      if (named) told++
      const isHead = key.startsWith(sessionPrefix) && parseSessionKey(key).chunk === headPart
      // A head is read to its end; a queue may end sooner, and then it is shorter.
      if (isHead) expect(named).toBe(true)
    }
  expect(told).toBeGreaterThan(100)
})

test('an index that cannot be read leaves what the log has', () => {
  const world = settledWorld(1)
  const { sessions, indexEntries } = readStore({ disk: world.disk, entries: undefined, storeId })
  expect(indexEntries).toBe(0)
  expect(sessions.size).toBeGreaterThan(0)
})
