export type Ending = 'done' | 'stalled' | 'timeout'

/** Waits for a run's end, and never longer than it may take. */
export class Watch {
  readonly #deadlineUs: number
  #poke: () => void = () => {}

  constructor(
    readonly nowUs: () => number,
    timeoutSeconds: number,
  ) {
    this.#deadlineUs = nowUs() + timeoutSeconds * 1e6
  }

  /** Something happened: look whether that was the end. */
  poke(): void {
    this.#poke()
  }

  /** @param moved a figure that changes as long as something happens; the same for `settleSeconds` is a stall. */
  until(isDone: () => boolean, moved: () => number, settleSeconds: number): Promise<Ending> {
    return new Promise((resolve) => {
      let latest = moved()
      let latestUs = this.nowUs()
      const end = (ending: Ending): void => {
        clearInterval(timer)
        this.#poke = () => {}
        resolve(ending)
      }
      const look = (): void => {
        const nowUs = this.nowUs()
        if (isDone()) return end('done')
        if (nowUs > this.#deadlineUs) return end('timeout')
        const now = moved()
        if (now !== latest) [latest, latestUs] = [now, nowUs]
        else if (nowUs - latestUs > settleSeconds * 1e6) end('stalled')
      }
      const timer = setInterval(look, 50)
      this.#poke = () => {
        if (isDone()) end('done')
      }
      look()
    })
  }
}
