#!/usr/bin/env bash
# Installs the Debian programs that test/peers, test/faults, test/net and the benchmarks run beside godwit, and leaves none of them
# running.
# Does nothing when they are there.
set -euo pipefail

packages=(iproute2 mosquitto mosquitto-clients nats-server python3-paho-mqtt strace)
services=(mosquitto nats-server)
programs=(ip tc mosquitto mosquitto_passwd mosquitto_pub mosquitto_sub mosquitto_rr nats-server strace)

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

missing=()
for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done
if [ ${#missing[@]} -eq 0 ]; then
  echo "peers: all there (${packages[*]})"
  exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
  echo "peers: not installed: ${missing[*]}. As root: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "peers: installing ${missing[*]}"

# Debian starts what it installs, unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
before=free
listening 1883 && before=taken

export DEBIAN_FRONTEND=noninteractive
quiet=(-qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
apt-get "${quiet[@]}" update
apt-get "${quiet[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null

for service in "${services[@]}"; do
  [[ " ${missing[*]} " == *" $service "* ]] || continue
  [ -d /run/systemd/system ] && systemctl disable --now "$service" >/dev/null 2>&1 || true
  service "$service" stop >/dev/null 2>&1 || true
done

for program in "${programs[@]}"; do
  command -v "$program" >/dev/null || { echo "peers: $program is still missing" >&2 && exit 1; }
done
/usr/bin/python3 -c 'import paho.mqtt.client'
if [ "$before" = free ] && listening 1883; then
  echo 'peers: one of them now listens on port 1883, and would not stop' >&2
  exit 1
fi
echo 'peers: installed; none of them is running'
