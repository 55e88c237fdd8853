/** The word that was meant, if one of `known` is close: at most a third of its letters away, and never less than one. */
export function closest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Infinity
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance && distance <= Math.max(1, Math.floor(candidate.length / 3))) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** `, did you mean "listeners"?`, or nothing. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const best = closest(word, known)
  return best === undefined ? '' : `, did you mean "${best}"?`
}

// Damerau's distance (optimal string alignment): a swap of neighbours is the commonest slip, and counts as one.
function editDistance(a: string, b: string): number {
  let older: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, older[j - 2]! + 1)
      row.push(cost)
    }
    older = last
    last = row
  }
  return last[b.length]!
}
