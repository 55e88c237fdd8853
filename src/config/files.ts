/**
 * Reads a whole text file; throws as `node:fs` does.
 * @param secret it is for its owner's eyes alone: throws when others on the machine may read it, too
 */
export type ReadFile = (path: string, secret?: boolean) => string

/** A path that a configuration file names: relative to that file, so that it means the same wherever the node starts. */
export function besideFile(file: string, path: string): string {
  const absolute = /^([/\\]|[a-z]:[/\\])/i.test(path)
  const directory = file.slice(0, Math.max(file.lastIndexOf('/'), file.lastIndexOf('\\')) + 1)
  return absolute ? path : directory + path.replace(/^(\.\/)+(?=.)/, '')
}

/** Why a file could not be opened, in words. */
export function faultText(fault: unknown): string {
  const { code, message } = fault as { code?: string; message?: string }
  return (code && words.get(code)) ?? message ?? String(fault)
}

const words = new Map([
  ['ENOENT', 'no such file'],
  ['EACCES', 'permission denied'],
  ['EISDIR', 'it is a directory'],
])
