import { spawnSync } from 'node:child_process'

/**
 * Must a test be skipped, because this machine lacks what it needs? Says so, once for each. In CI all of it must be there.
 * @throws in CI
 */
function lacks(what: string, isThere: boolean, hint: string): boolean {
  if (isThere) return false
  if (process.env['CI'] !== undefined) throw new Error(`tests of faults need ${what}: ${hint}`)
  process.stderr.write(`tests of faults are left out: no ${what} (${hint})\n`)
  return true
}

/** System calls are made to fail by strace. */
export const noStrace = lacks(
  'strace',
  // It may be there and not be allowed to, as in a container.
  spawnSync('strace', ['-o', '/dev/null', 'true']).status === 0,
  'apt-get install strace, and the right to trace',
)

/** A small disk is a tmpfs of its own. */
export const noMounts = lacks(
  'mounts',
  process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0,
  'only root may mount',
)
