import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { run, startGodwit, temporary } from '../support/program.ts'
import { certificateFiles } from './kit.ts'

// Debian's paho-mqtt, which Home Assistant uses too, on Debian's own Python. What it does is in paho_client.py.

const script = fileURLToPath(new URL('paho_client.py', import.meta.url))
const scenarios = ['payloads', 'retained', 'burst', 'wills', 'sessions', 'volume']

for (const version of ['3.1', '3.1.1', '5'])
  for (const [transport, scheme] of [
    ['tcp', 'tcp'],
    ['tcp', 'tls'],
    ['websockets', 'ws'],
    ['websockets', 'wss'],
  ] as const)
    test(`paho ${version} over ${scheme}`, async () => {
      const folder = temporary()
      const { cert } = await certificateFiles(folder)
      const file = join(folder, 'godwit.yaml')
      const tls = scheme === 'tls' || scheme === 'wss' ? ', tls: { cert: cert.pem, key: key.pem }' : ''
      writeFileSync(file, `listeners: [{ url: '${scheme}://127.0.0.1:0'${tls} }]\n`)
      const { program, port } = await startGodwit(['--config', file])
      const args = [script, '127.0.0.1', String(port), version, transport, ...(tls ? [cert] : [])]
      const { code, out, err } = await run('/usr/bin/python3', args)
      expect({ code, err, lines: out.trim().split('\n') }).toEqual({
        code: 0,
        err: '',
        lines: [...scenarios, ...(version === '5' ? ['properties'] : []), 'done'],
      })
      expect(program.err.text).not.toMatch(/"level":"(warn|error)"/)
    })
