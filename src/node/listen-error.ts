/** A listener that could not be opened. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
  readonly code: string | undefined
  constructor(
    readonly url: string,
    cause: unknown,
  ) {
    super(`cannot listen on ${url}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.code = (cause as { code?: string }).code
  }
}
