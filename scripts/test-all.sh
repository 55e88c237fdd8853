#!/usr/bin/env bash
# Runs every test, with those that need Debian programs: npm run test:all [-- vitest's arguments]
# TEST_REPORT: where vitest's JSON report is left; by default nowhere.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
report=${TEST_REPORT:-$folder/report.json}

npm run -s build
bash scripts/install-peers.sh
status=0
PEERS=1 npx vitest run --reporter=default --reporter=json --outputFile.json="$report" "$@" || status=$?
node scripts/counts.mjs "$report" || status=1
exit "$status"
