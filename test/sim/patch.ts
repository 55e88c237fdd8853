/** Replaces a method of a class by what `make` makes of the original; gives what undoes it. */
export function patch<T extends object, K extends keyof T>(
  prototype: T,
  name: K,
  make: (original: T[K]) => T[K],
): () => void {
  const original = prototype[name]
  prototype[name] = make(original)
  return () => void (prototype[name] = original)
}
