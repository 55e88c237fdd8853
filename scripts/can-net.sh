#!/usr/bin/env bash
# Ends with 0 where `npm run test:net` can make its networks: namespaces, cables between them, a bridge, slow links. Else says
# what cannot be made, and ends with 1. Leaves nothing behind.
set -euo pipefail

name=gwprobe$$
trap 'ip link del "$name" 2>/dev/null || true; ip netns del "$name" 2>/dev/null || true' EXIT

try() { "$@" 2>&1 >/dev/null || { echo "it failed: $*" && exit 1; }; }

[ "$(id -u)" -eq 0 ] || { echo 'it needs root' && exit 1; }
for program in ip tc; do
  command -v "$program" >/dev/null || { echo "there is no $program (Debian: iproute2)" && exit 1; }
done
try ip netns add "$name"
try ip link add "$name" type bridge
try ip link del "$name"
try ip link add "$name" type veth peer name eth0 netns "$name"
try ip netns exec "$name" tc qdisc replace dev eth0 root tbf rate 2000kbit burst 16kb latency 200ms
try ip -n "$name" neigh replace 10.213.0.1 lladdr 02:00:00:00:00:ff dev eth0 nud permanent
