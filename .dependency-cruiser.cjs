// The house: a room may import only from floors below its own, and from itself.
// Only src/platform, src/cli and src/main.ts may touch Node's I/O, clock or randomness.
const floors = [
  ['mqtt', 'host.ts', 'version.ts'],
  ['platform'],
  ['routing', 'store'],
  ['sessions', 'retain', 'access'],
  ['broker'],
  ['cluster'],
  ['admin'],
  ['config'],
  ['node'],
  ['node.ts'],
  ['cli'],
  ['main.ts', 'index.ts', 'aedes'],
]
const path = (name) => (name.endsWith('.ts') ? `^src/${name.replace('.', '\\.')}$` : `^src/${name}/`)
const upward = floors.flatMap((rooms, floor) =>
  rooms.map((room) => ({
    name: `floor-${floor}-${room}`,
    comment: `${room} may import only from floors below ${floor}, and from itself`,
    severity: 'error',
    from: { path: path(room) },
    to: {
      path: '^src/',
      pathNot: [path(room), ...floors.slice(0, floor).flat().map(path), ...(floor === 0 ? ['^src/host\\.ts$'] : [])],
    },
  })),
)

module.exports = {
  forbidden: [
    ...upward,
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'only-the-platform-touches-node',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/platform/', '^src/cli/', '^src/main\\.ts$'] },
      to: { dependencyTypes: ['core'], pathNot: ['^(node:)?(buffer|url)$'] },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
}
