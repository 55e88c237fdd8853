/** Wakes whoever waits each time that something has happened, so that a test waits for events and never sleeps. */
export class Bell {
  readonly #waiting = new Set<() => void>()

  ring(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  /** Done as soon as `done` says so; asked now, and at each ring. Fails after 25 s, with `state` as the reason. */
  async until(done: () => boolean, state: () => string): Promise<void> {
    if (done()) return
    await new Promise<void>((resolve, reject) => {
      const wake = (): void => {
        if (!done()) return
        clearTimeout(timer)
        this.#waiting.delete(wake)
        resolve()
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(wake)
        reject(new Error(`waited 25 s in vain: ${state()}`))
      }, 25_000)
      this.#waiting.add(wake)
    })
  }
}
