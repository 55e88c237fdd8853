import { command } from './command.ts'

// Whatever ends us ends the broker, in the handlers of 'exit'.
process.on('SIGINT', () => process.exit(130))
process.on('SIGTERM', () => process.exit(143))
process.exitCode = await command(process.argv.slice(2), {
  result: (text) => process.stdout.write(text),
  note: (text) => process.stderr.write(text),
})
