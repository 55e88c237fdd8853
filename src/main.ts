#!/usr/bin/env node
import { processIo } from './cli/process.ts'
import { run } from './cli/program.ts'

const code = await run(process.argv.slice(2), processIo())
// `bench` sets its exit code itself.
process.exitCode ||= code
