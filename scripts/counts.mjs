// Adds up vitest's JSON reports: node scripts/counts.mjs report.json …
// The last line is "N passed, N failed"; the exit code is 0 when none failed and at least one ran.
import { readFileSync } from 'node:fs'

const total = { passed: 0, failed: 0, other: 0 }
for (const file of process.argv.slice(2)) {
  let report
  try {
    report = JSON.parse(readFileSync(file, 'utf8'))
  } catch (fault) {
    console.error(`no report: ${fault.message}`)
    total.failed++
    continue
  }
  total.passed += report.numPassedTests
  total.failed += report.numFailedTests
  total.other += report.numPendingTests + report.numTodoTests
  // A file that could not be loaded has no tests to count.
  for (const { name, status, message, assertionResults } of report.testResults) {
    if (status !== 'failed' || assertionResults.some((result) => result.status === 'failed')) continue
    console.error(`failed outside of its tests: ${name}: ${message}`)
    total.failed++
  }
}
if (total.other > 0) console.error(`${total.other} tests were not run`)
console.log(`${total.passed} passed, ${total.failed} failed`)
if (total.failed > 0 || total.passed === 0) process.exitCode = 1
