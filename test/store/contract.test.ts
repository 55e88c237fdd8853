import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TopicTable } from '../../src/mqtt/topic.ts'
import { NodeDisk } from '../../src/platform/disk.ts'
import { nodeHost } from '../../src/platform/host.ts'
import { openIndex } from '../../src/platform/lmdb.ts'
import { openDiskStore } from '../../src/store/disk-store.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import { describeStore } from './contract.ts'
import { silent, World } from './model.ts'

const sizes = { segmentBytes: 4096, checkpointBytes: 2048, cacheBytes: 8192, reserveBytes: 0 }

describeStore('a store on a simulated disk', () => {
  const world = new World(1, sizes)
  let opened = false
  const turn = async () => {
    world.time.step()
    await Promise.resolve()
  }
  return {
    open: () => {
      // The world has opened it already.
      if (opened) world.reopen()
      opened = true
      return world
    },
    settle: async (until) => {
      while (!until()) await turn()
    },
    wait: async (promise) => {
      let over = false
      void promise.finally(() => (over = true)).catch(() => {})
      while (!over) await turn()
      return promise
    },
    remove: () => {},
  }
})

describeStore('a store in a folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-store-'))
  mkdirSync(join(folder, 'index'))
  const { clock, log } = nodeHost(silent)
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return {
    open: () => {
      const disk = new NodeDisk(folder)
      const index = openIndex(join(folder, 'index'), () => disk.freeBytes())
      return openDiskStore({ disk, index, clock, log, storeId: 7, topics: new TopicTable(), ...sizes })
    },
    settle: async (until) => {
      while (!until()) await turn()
    },
    wait: (promise) => promise,
    remove: () => rmSync(folder, { recursive: true }),
  }
})

describeStore(
  'a store in memory',
  () => ({
    open: () => ({ store: new MemoryStore(), recovered: { sessions: [], retained: [] } }),
    settle: (until) => {
      if (!until()) throw new Error('nothing changes any more')
      return Promise.resolve()
    },
    wait: (promise) => promise,
    remove: () => {},
  }),
  false,
)
