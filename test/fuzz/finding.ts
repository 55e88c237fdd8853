/** What must never happen, and has. `kind` stays the same while a script is minimised. */
export class Finding extends Error {
  override readonly name = 'Finding'
  constructor(
    readonly kind: string,
    what: string,
    options?: ErrorOptions,
  ) {
    super(`${kind}: ${what}`, options)
  }
}
