import type { Disk, DiskFault, DiskFile } from '../../src/host.ts'
import type { Dice } from './dice.ts'

interface Write {
  readonly position: number
  bytes: Uint8Array
  /** It has come to its end; until then a crash may leave a part of it. */
  done: boolean
  /** A sync of it failed: the system has forgotten that it is not on the disk. */
  forgotten: boolean
}

/** Bytes that grow. */
class Image {
  #room = Buffer.alloc(0)
  size = 0

  static of(bytes: Uint8Array): Image {
    const image = new Image()
    image.set(bytes, 0)
    return image
  }

  get bytes(): Buffer {
    return this.#room.subarray(0, this.size)
  }

  /** What was never written between is zeros. */
  set(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length
    if (bytes.length === 0) return
    if (end > this.#room.length) {
      const room = Buffer.alloc(end * 2)
      this.bytes.copy(room)
      this.#room = room
    }
    this.#room.set(bytes, position)
    this.size = Math.max(this.size, end)
  }

  cut(size: number): void {
    this.#room.fill(0, size)
    this.size = Math.min(this.size, size)
  }
}

/** The content of a file, whatever its name. */
class Content {
  readonly durable: Image
  /** As it is read: with all writes that are done. */
  readonly now: Image
  /** What is not durable, in the order in which it was asked for. */
  unsynced: Write[] = []

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.durable = Image.of(bytes)
    this.now = Image.of(bytes)
  }

  /** What the system has of it when the process is gone: all that was written, and perhaps a part of what was under way. */
  survivor(dice: Dice): Content {
    const copy = new Content(this.durable.bytes)
    copy.now.set(this.now.bytes, 0)
    copy.unsynced = this.unsynced.map((write) =>
      write.done ? write : { ...write, bytes: torn(Uint8Array.from(write.bytes), dice), done: true },
    )
    for (const { position, bytes } of copy.unsynced) copy.now.set(bytes, position)
    return copy
  }
}

/** A change of a folder that is not durable. `to` undefined: removed. */
interface Naming {
  readonly from: string | undefined
  readonly to: string | undefined
  readonly content: Content
}

type Kind = 'write' | 'sync'

/**
 * A disk that forgets. Writes are durable when the file was synced, names when their folder was; a crash keeps of the rest
 * what the dice say. Calls with a callback end when `later` runs what it was given; until then they are under way.
 *
 *   names ──▶ Content: durable bytes + writes since      crash ──▶ a new disk, where some of the writes have happened
 */
export class SimDisk implements Disk {
  /** Bytes that fit on it. */
  capacity = Infinity
  /** Writes and syncs (of folders, too) that were asked for. */
  readonly calls = { write: 0, sync: 0 }
  /** Files that are open. */
  opened = 0
  readonly #later: (run: () => void) => void
  readonly #dice: Dice
  readonly #names = new Map<string, Content>()
  readonly #durableNames = new Map<string, Content>()
  #namings: Naming[] = []
  readonly #faults = new Map<string, string>()
  #gone = false

  /** @param later runs what it is given once, in a later turn: when a call ends */
  constructor(dice: Dice, later: (run: () => void) => void) {
    this.#dice = dice
    this.#later = later
  }

  /** The `nth` write or sync from the first fails with `code`. */
  fail(kind: Kind, nth: number, code: string): void {
    this.#faults.set(`${kind} ${nth}`, code)
  }

  /** The process dies: what it wrote stays, but of a write that is under way perhaps a part. Gives the disk to start from. */
  kill(dice: Dice = this.#dice, later = this.#later): SimDisk {
    this.#gone = true
    const disk = new SimDisk(dice, later)
    disk.capacity = this.capacity
    const copies = new Map<Content, Content>()
    const copyOf = (content: Content) => {
      const copy = copies.get(content) ?? content.survivor(dice)
      copies.set(content, copy)
      return copy
    }
    for (const [name, content] of this.#names) disk.#names.set(name, copyOf(content))
    for (const [name, content] of this.#durableNames) disk.#durableNames.set(name, copyOf(content))
    disk.#namings = this.#namings.map((naming) => ({ ...naming, content: copyOf(naming.content) }))
    return disk
  }

  /** The power fails. Gives the disk to start from. @param dice decide what of the unsynced has reached it */
  crash(dice: Dice = this.#dice, later = this.#later): SimDisk {
    // Sometimes the disk was idle or lazy, sometimes it wrote in order, mostly it did as it liked.
    const mode = dice.pick(['all', 'none', 'prefix', 'any', 'any'] as const)
    const names = new Map(this.#durableNames)
    for (const naming of this.#namings) {
      if (mode === 'none' || (mode !== 'all' && dice.chance(0.3))) continue
      if (naming.from !== undefined) names.delete(naming.from)
      if (naming.to !== undefined) names.set(naming.to, naming.content)
    }
    this.#gone = true
    const disk = new SimDisk(dice, later)
    disk.capacity = this.capacity
    for (const [name, { durable, unsynced }] of names) {
      const image = Image.of(durable.bytes)
      for (const { position, bytes } of mode === 'none' ? [] : unsynced) {
        if (mode === 'any' && dice.chance(0.4)) continue
        const whole = mode === 'all' || dice.chance(0.7)
        image.set(whole ? bytes : torn(bytes, dice), position)
        if (!whole && mode === 'prefix') break
      }
      disk.put(name, image.bytes)
    }
    return disk
  }

  /** What a file holds as it is read; undefined when there is none. A copy. */
  contentOf(name: string): Buffer | undefined {
    const content = this.#names.get(name)
    return content && Buffer.from(content.now.bytes)
  }

  /** Gives a file this content, durably: how a test damages it, or makes it. */
  put(name: string, bytes: Uint8Array): void {
    const content = new Content(bytes)
    this.#names.set(name, content)
    this.#durableNames.set(name, content)
  }

  /** Changes a byte of a file, whoever uses it: a disk that goes bad. */
  damage(name: string, at: number): void {
    const { now, durable } = this.#names.get(name)!
    for (const { bytes } of [now, durable]) if (at < bytes.length) bytes[at]! ^= 0xff
  }

  list(folder: string): string[] {
    const prefix = folder === '' ? '' : `${folder}/`
    const names = [...this.#names.keys()].filter((name) => name.startsWith(prefix))
    return names
      .map((name) => name.slice(prefix.length))
      .filter((name) => !name.includes('/'))
      .sort()
  }

  makeFolder(): void {}

  open(name: string, create: boolean): DiskFile {
    let content = this.#names.get(name)
    if (create && content) throw faultOf('EEXIST')
    if (!create && !content) throw faultOf('ENOENT')
    if (create && this.freeBytes() <= 0) throw faultOf('ENOSPC')
    if (!content) {
      content = new Content()
      this.#names.set(name, content)
      this.#namings.push({ from: undefined, to: name, content })
    }
    this.opened++
    return this.#fileOf(content)
  }

  remove(name: string): void {
    const content = this.#names.get(name)
    if (!content) throw faultOf('ENOENT')
    this.#names.delete(name)
    this.#namings.push({ from: name, to: undefined, content })
  }

  rename(from: string, to: string): void {
    const content = this.#names.get(from)
    if (!content) throw faultOf('ENOENT')
    this.#names.delete(from)
    this.#names.set(to, content)
    this.#namings.push({ from, to, content })
  }

  syncFolder(folder: string, done: (fault: DiskFault | undefined) => void): void {
    const asked = new Set(this.#namings.filter(({ from, to }) => folderOf(to ?? from!) === folder))
    this.#answer(this.#fault('sync'), done, (failed) => {
      if (failed) return
      for (const naming of asked) {
        if (naming.from !== undefined) this.#durableNames.delete(naming.from)
        if (naming.to !== undefined) this.#durableNames.set(naming.to, naming.content)
      }
      this.#namings = this.#namings.filter((naming) => !asked.has(naming))
    })
  }

  freeBytes(): number {
    let used = 0
    for (const content of this.#names.values()) used += content.now.size
    return this.capacity - used
  }

  #fileOf(content: Content): DiskFile {
    let open = true
    const { now, durable } = content
    const check = () => {
      if (!open) throw faultOf('EBADF')
      if (this.#gone) throw new Error('the process that used this disk is over')
    }
    return {
      get size() {
        return now.size
      },
      write: (pieces, position, done) => {
        check()
        this.#write(content, pieces, position, done)
      },
      sync: (done) => {
        check()
        // Only what had been written when it was asked for.
        const asked = new Set(content.unsynced.filter((write) => write.done && !write.forgotten))
        this.#answer(this.#fault('sync'), done, (failed) => {
          for (const write of asked) {
            if (failed) write.forgotten = true
            else durable.set(write.bytes, write.position)
          }
          if (!failed) content.unsynced = content.unsynced.filter((write) => !asked.has(write))
        })
      },
      read: (into, position, done) => {
        check()
        this.#end(() => done(undefined, now.bytes.copy(into, 0, position)))
      },
      readNow: (into, position) => {
        check()
        return now.bytes.copy(into, 0, position)
      },
      truncate: (size) => {
        check()
        now.cut(size)
        durable.cut(0)
        durable.set(now.bytes, 0)
        content.unsynced = []
      },
      close: () => {
        check()
        open = false
        this.opened--
      },
    }
  }

  #write(
    content: Content,
    pieces: readonly Uint8Array[],
    position: number,
    done: (fault: DiskFault | undefined) => void,
  ): void {
    const { now } = content
    const bytes = Buffer.concat(pieces)
    const room = now.size + Math.max(0, this.freeBytes()) - position
    const code = this.#fault('write') ?? (bytes.length > room ? 'ENOSPC' : undefined)
    // One that fails may have begun.
    const part = code === undefined ? bytes : torn(bytes, this.#dice).subarray(0, Math.max(0, room))
    const write: Write = { position, bytes: part, done: false, forgotten: false }
    content.unsynced.push(write)
    this.#answer(code, done, () => {
      // Until now the caller had to leave the bytes alone; from here on they are its own again.
      if (!bytes.equals(Buffer.concat(pieces))) throw new Error('bytes changed while they were written')
      write.done = true
      now.set(write.bytes, position)
    })
  }

  /** Ends a call: `effect` happens, then `done` hears of it. */
  #answer(
    code: string | undefined,
    done: (fault: DiskFault | undefined) => void,
    effect: (failed: boolean) => void,
  ): void {
    this.#end(() => {
      effect(code !== undefined)
      done(code === undefined ? undefined : faultOf(code))
    })
  }

  #fault(kind: Kind): string | undefined {
    return this.#faults.get(`${kind} ${++this.calls[kind]}`)
  }

  #end(run: () => void): void {
    this.#later(() => {
      if (!this.#gone) run()
    })
  }
}

function faultOf(code: string): DiskFault {
  return Object.assign(new Error(`${code}, as the simulation wanted`), { code })
}

function folderOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('/')))
}

/** The part of `bytes` that was written before it was cut short. */
function torn(bytes: Uint8Array, dice: Dice): Uint8Array {
  return bytes.subarray(0, dice.below(bytes.length + 1))
}
