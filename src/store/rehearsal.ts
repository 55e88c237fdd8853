import type { Disk, DiskFile } from '../host.ts'

/**
 * A disk on which nothing changes: what is cut off, removed or set aside stays where it is. To find out what an opening
 * would do.
 */
export function rehearsal(disk: Disk): Disk {
  return {
    list: (folder) => disk.list(folder),
    open: (name, create) => (create ? nowhere : unchanged(disk.open(name, false))),
    makeFolder: () => undefined,
    remove: () => undefined,
    rename: () => undefined,
    syncFolder: (_folder, done) => done(undefined),
    freeBytes: () => disk.freeBytes(),
  }
}

function unchanged(file: DiskFile): DiskFile {
  return {
    size: file.size,
    write: (_pieces, _position, done) => done(undefined),
    sync: (done) => done(undefined),
    read: (into, position, done) => file.read(into, position, done),
    readNow: (into, position) => file.readNow(into, position),
    truncate: () => undefined,
    close: () => file.close(),
  }
}

const nowhere: DiskFile = {
  size: 0,
  write: (_pieces, _position, done) => done(undefined),
  sync: (done) => done(undefined),
  read: (_into, _position, done) => done(undefined, 0),
  readNow: () => 0,
  truncate: () => undefined,
  close: () => undefined,
}
