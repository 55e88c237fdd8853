import { command } from './command.ts'

process.exitCode = await command(process.argv.slice(2), {
  result: (text) => process.stdout.write(text),
  note: (text) => process.stderr.write(text),
})
