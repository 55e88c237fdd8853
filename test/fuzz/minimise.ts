import type { Script, Step } from './script.ts'

/**
 * A smaller script that still fails: fewer steps, then fewer bytes.
 * @param fails runs a script from scratch
 */
export async function minimise(
  script: Script,
  fails: (script: Script) => Promise<boolean>,
  mostTries = 3000,
): Promise<Script> {
  let tries = 0
  const still = async (smaller: Script): Promise<boolean> => tries++ < mostTries && (await fails(smaller))
  let least = await without(script, (steps) => steps, still)
  for (let at = 0; at < least.length; at++) {
    const step = least[at]!
    if (step.do !== 'send') continue
    const put = (bytes: readonly number[]): Step[] => least.with(at, { ...step, bytes: Uint8Array.from(bytes) })
    least = put(await without([...step.bytes], put, still))
  }
  return least
}

/** Takes halves, quarters … of `whole` away as long as what is left still fails. Something always stays. */
async function without<T>(
  whole: readonly T[],
  scriptOf: (rest: readonly T[]) => Script,
  still: (script: Script) => Promise<boolean>,
): Promise<readonly T[]> {
  let rest = whole
  for (let size = whole.length >> 1; size > 0;) {
    let shrunk = false
    for (let at = 0; at < rest.length && rest.length > 1;) {
      const less = [...rest.slice(0, at), ...rest.slice(at + size)]
      if (less.length > 0 && (await still(scriptOf(less)))) {
        rest = less
        shrunk = true
      } else at += size
    }
    if (!shrunk || size > rest.length) size >>= 1
  }
  return rest
}
