#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8'

// A young generation that stays small: a pause of 0.3 ms many times a second instead of one of 1.5 ms, which is what
// every hundredth message would wait for; and it fits the cache, which is worth 10% of the throughput.
// Before anything else is loaded, as V8 never shrinks it again while there is work.
setFlagsFromString('--semi-space-growth-factor=1')
// The way of a message is one function for the engine's optimizer if it may be: by default it stops inlining halfway, at a
// place that differs from start to start. Worth 6 to 10% of the processor time of a message.
setFlagsFromString('--max-inlined-bytecode-size-cumulative=3000')
const { processIo } = await import('./cli/process.ts')
const { run } = await import('./cli/program.ts')

const code = await run(process.argv.slice(2), processIo())
// `bench` sets its exit code itself.
process.exitCode ||= code
