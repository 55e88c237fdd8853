import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

interface Sbom {
  readonly bomFormat: string
  readonly specVersion: string
  readonly metadata: { readonly component: { readonly name: string; readonly version: string } }
  readonly components: readonly { name: string; version: string; 'bom-ref': string; hashes: { content: string }[] }[]
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
}

interface Package {
  readonly name: string
  readonly version: string
  readonly dependencies: Record<string, string>
  readonly devDependencies: Record<string, string>
}

const read = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T

test('npm run sbom: every package that is shipped, with its hash, and nothing that is only for tests', async () => {
  const make = () => promisify(execFile)(process.execPath, ['scripts/sbom.mjs'], { maxBuffer: 1e8 })
  const [one, again] = await Promise.all([make(), make()])
  expect(again.stdout).toBe(one.stdout)
  const { bomFormat, specVersion, metadata, components, dependencies } = JSON.parse(one.stdout) as Sbom
  const { name, version, dependencies: direct, devDependencies } = read<Package>('package.json')
  expect([bomFormat, specVersion, metadata.component]).toMatchObject(['CycloneDX', '1.5', { name, version }])
  const named = new Set(components.map((one) => `${one.name} ${one.version}`))
  type Locked = { readonly packages: Record<string, { version: string; dev?: boolean }> }
  const { packages } = read<Locked>('package-lock.json')
  const shipped = Object.entries(packages).filter(([place, { dev }]) => place !== '' && dev !== true)
  expect(named).toEqual(
    new Set(shipped.map(([place, { version }]) => `${place.split('node_modules/').at(-1)} ${version}`)),
  )
  for (const [dependency, version] of Object.entries(direct)) expect(named).toContain(`${dependency} ${version}`)
  for (const tool of ['vitest', 'eslint', 'typescript'])
    expect([tool in devDependencies, components.some((one) => one.name === tool)]).toEqual([true, false])
  for (const { hashes } of components) expect(hashes[0]?.content).toMatch(/^[0-9a-f]{128}$/)
  // Each is reached from the root, by edges that lead somewhere.
  const edges = new Map(dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]))
  const reached = new Set<string>()
  const walk = (ref: string): void => {
    if (reached.has(ref)) return
    reached.add(ref)
    edges.get(ref)!.forEach(walk)
  }
  walk(`pkg:npm/${name}@${version}`)
  expect(components.map((one) => one['bom-ref']).filter((ref) => !reached.has(ref))).toEqual([])
})
