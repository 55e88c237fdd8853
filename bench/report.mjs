// From runs to figures: medians, ratios, whether a target is met, and the tables that show them.

export function median(values) {
  const sorted = values.filter((value) => value !== undefined && value !== null).sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : sorted.length && (sorted[middle - 1] + sorted[middle]) / 2
}

/** @param runs contender → results of `measure` @returns one object for each row of the scenario */
export function rowsOf(scenario, runs) {
  return scenario.rows.map(({ title, unit, figure, less = false, target }) => {
    const figures = {}
    const full = []
    for (const [name, results] of Object.entries(runs)) {
      // What a run that went wrong did in the meantime is no speed.
      const good = results.filter(({ fault, figures }) => !fault && figures[figure] !== undefined)
      if (good.length > 0) figures[name] = median(good.map((result) => result.figures[figure]))
      const busy = median(results.map((result) => result.figures.generatorCpu))
      if (unit.endsWith('/s') && busy >= fullCore) full.push(name)
    }
    const { godwit } = figures
    const ratios = {}
    for (const [name, value] of Object.entries(figures))
      if (name !== 'godwit' && godwit !== undefined && value > 0) ratios[name] = Number((godwit / value).toFixed(3))
    const met = godwit === undefined ? undefined : target?.isMet(figures)
    const { id, group } = scenario
    return { id, group, title, unit, less, figures, full, ratios, target: target?.text ?? '', met }
  })
}

/** What went wrong, a line for each contender and scenario. */
export function faultsOf(scenario, runs) {
  return Object.entries(runs).flatMap(([name, results]) => {
    const lost = results.reduce((sum, result) => sum + result.lost, 0)
    const faults = [...new Set(results.map(({ fault }) => fault).filter(Boolean))]
    if (faults.length === 0 && lost === 0) return []
    const counts = results.filter(({ fault }) => fault).length
    return [
      { id: scenario.id, contender: name, lost, text: `${faults.join('; ')} (${counts} of ${results.length} runs)` },
    ]
  })
}

export function table(rows, faults, names) {
  const others = names.filter((name) => name !== 'godwit')
  const ratios = names.includes('godwit') ? others : []
  const head = ['', 'unit', ...names, ...ratios.map((name) => `/${name}`), 'target', '']
  const lines = rows.map((row) => [
    row.title,
    row.unit,
    ...names.map((name) => cell(row, name, faults)),
    ...ratios.map((name) => times(row.ratios[name])),
    row.target,
    row.met === undefined ? '' : row.met ? 'met' : 'short',
  ])
  return aligned([head, ...lines], (i) => i === 0 || i >= head.length - 2)
}

/** How much better each contender does than in the rows of an earlier run: above 1 is faster, or less where less is better. */
export function changes(rows, earlier, names) {
  const known = new Map(earlier.map((row) => [`${row.id} ${row.title}`, row]))
  const lines = rows.flatMap((row) => {
    const before = known.get(`${row.id} ${row.title}`)
    if (before === undefined) return []
    const better = names.map((name) => gain(row, row.figures[name], before.figures[name]))
    return [[row.title, ...better.map(times), slower(better[names.indexOf('godwit')])]]
  })
  return aligned([['better than before', ...names, ''], ...lines], (i) => i === 0 || i > names.length)
}

/** The same between two godwits of one run: the rows in which this one does not keep up with `other`. */
export function behind(rows, other) {
  return rows.flatMap((row) => {
    const better = gain(row, row.figures.godwit, row.figures[other])
    return slower(better) ? [`${row.title}: ${times(better)} of ${other}`] : []
  })
}

/** Less than this share of the speed is more than noise. */
const kept = 0.95

function gain({ less }, now, before) {
  if (!(now > 0 && before > 0)) return undefined
  return less ? before / now : now / before
}

function slower(better) {
  return better !== undefined && better < kept ? 'slower' : ''
}

function times(ratio) {
  return ratio === undefined ? '-' : `${ratio.toFixed(2)}x`
}

function aligned(lines, isText) {
  const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => line[i].length)))
  const line = (cells) =>
    cells
      .map((text, i) => (isText(i) ? text.padEnd(widths[i]) : text.padStart(widths[i])))
      .join('  ')
      .trimEnd()
  return lines.map(line).join('\n')
}

function cell({ id, figures, full }, name, faults) {
  const lost = faults.some((fault) => fault.id === id && fault.contender === name && fault.lost > 0)
  const value = figures[name]
  const text = value === undefined ? '-' : Math.round(value).toLocaleString('en-US')
  return `${text}${full.includes(name) ? '*' : ''}${lost ? ' LOST' : ''}`
}

/** Where the generator had no time left, the contender may be faster than its figure: not said of latency, which spins. */
export const legend = "* the generator's core was full: the contender may be faster than this"
const fullCore = 0.95
