// npm run sbom [-- FILE]: what godwit consists of, from the lockfile, as CycloneDX 1.5 JSON; to stdout without FILE. The same
// lockfile gives the same bytes. `npm sbom --omit dev` leaves out what tests need, too, although the broker needs it.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** @param lock a parsed package-lock.json of version 3 */
export function sbomOf({ name, version, packages }) {
  const shipped = Object.entries(packages).filter(
    ([place, { dev, devOptional }]) => place !== '' && !dev && !devOptional,
  )
  const root = { ...packages[''], name, version }
  const purls = new Map([
    ['', purlOf(name, version)],
    ...shipped.map(([place, { version }]) => [place, purlOf(nameOf(place), version)]),
  ])
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component: { type: 'application', 'bom-ref': purls.get(''), name, version, purl: purls.get('') } },
    components: unique(shipped.map(([place, entry]) => component(place, entry, purls.get(place)))),
    dependencies: merged(
      [['', root], ...shipped].map(([place, entry]) => ({
        ref: purls.get(place),
        dependsOn: wanted(entry)
          .map((wish) => purls.get(foundFrom(place, wish, purls)))
          .filter((purl) => purl !== undefined),
      })),
    ),
  }
}

function component(place, { version, integrity, license, optional }, purl) {
  return {
    type: 'library',
    'bom-ref': purl,
    name: nameOf(place),
    version,
    scope: optional ? 'optional' : 'required',
    purl,
    ...(integrity && { hashes: [hashOf(integrity)] }),
    ...(license && { licenses: [/[ (]/.test(license) ? { expression: license } : { license: { id: license } }] }),
  }
}

/** What a package may load: also what is installed on some systems only. */
function wanted({ dependencies = {}, optionalDependencies = {}, peerDependencies = {} }) {
  return Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })
}

/** The place that Node finds a package at, from within another: the nearest node_modules that has it. */
function foundFrom(place, wish, purls) {
  for (let from = place; ; from = from.slice(0, Math.max(0, from.lastIndexOf('/node_modules/')))) {
    const at = `${from === '' ? '' : `${from}/`}node_modules/${wish}`
    if (purls.has(at)) return at
    if (from === '') return undefined
  }
}

function nameOf(place) {
  return place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)
}

function purlOf(name, version) {
  return `pkg:npm/${name.replace('@', '%40')}@${version}`
}

function hashOf(integrity) {
  const [algorithm, content] = integrity.split('-')
  return { alg: algorithm.replace('sha', 'SHA-'), content: Buffer.from(content, 'base64').toString('hex') }
}

/** The same package may stand at two places. */
function unique(components) {
  return [...new Map(components.map((one) => [one.purl, one])).values()].sort(by('purl'))
}

function merged(dependencies) {
  const all = new Map()
  for (const { ref, dependsOn } of dependencies) all.set(ref, new Set([...(all.get(ref) ?? []), ...dependsOn]))
  return [...all].map(([ref, dependsOn]) => ({ ref, dependsOn: [...dependsOn].sort() })).sort(by('ref'))
}

function by(key) {
  return (a, b) => (a[key] < b[key] ? -1 : 1)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'))
  const text = `${JSON.stringify(sbomOf(lock), undefined, 2)}\n`
  const [file] = process.argv.slice(2)
  if (file === undefined) process.stdout.write(text)
  else writeFileSync(file, text)
}
