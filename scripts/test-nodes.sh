#!/usr/bin/env bash
# Runs the suite on other versions of Node: scripts/test-nodes.sh [MAJOR …]; 22 and 24 by default.
# Each one comes from npm into a temporary folder, about 200 MB, which is gone afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."

versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(22 24)
package=node-linux-$(node -p process.arch)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

npm run -s build
summaries=()
status=0
for version in "${versions[@]}"; do
  npm install --ignore-scripts --no-save --no-audit --no-fund --silent --prefix "$folder/$version" "$package@$version"
  bin=$folder/$version/node_modules/$package/bin
  full=$("$bin/node" --version)
  echo "── Node $full"
  # First on PATH too: some tests start "node" by its name.
  PATH=$bin:$PATH "$bin/node" node_modules/vitest/vitest.mjs run \
    --reporter=default --reporter=json --outputFile.json="$folder/$version.json" || status=1
  summaries+=("Node $full: $(node scripts/counts.mjs "$folder/$version.json")") || status=1
  rm -rf "${folder:?}/$version"
done
printf '%s\n' "${summaries[@]}"
exit "$status"
