// Loaded before a broker: at SIGUSR2 it takes every descriptor that there is, and at the next one it gives them back.
import { closeSync, openSync } from 'node:fs'

let held = []
process.on('SIGUSR2', () => {
  if (held.length > 0) for (const descriptor of held.splice(0)) closeSync(descriptor)
  else
    try {
      for (;;) held.push(openSync('/dev/null'))
    } catch (fault) {
      process.stderr.write(`hog: ${fault.code} after ${held.length > 0}\n`)
      return
    }
  process.stderr.write('hog: gave them back\n')
})
