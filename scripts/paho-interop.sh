#!/bin/sh
# Runs the Eclipse Paho interoperability suite against a fresh Parley:
#
#   scripts/paho-interop.sh FOLDER [TEST...]
#
# FOLDER is a checkout of eclipse/paho.mqtt.testing. A TEST is a name such as
# test_basic or client_test5.test_basic; without one all run, in five minutes.
# Needs Go and Python 3.8 or newer. Fails when a test fails in a way that
# scripts/paho_interop.py does not list among the expected differences.
set -eu

if [ $# -lt 1 ] || [ ! -f "$1/interoperability/client_test5.py" ]; then
	echo "usage: scripts/paho-interop.sh FOLDER [TEST...]; FOLDER is a checkout of eclipse/paho.mqtt.testing" >&2
	exit 2
fi
folder=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
CGO_ENABLED=0 go build -trimpath -o "$dir/parley" ./cmd/parley
PYTHONDONTWRITEBYTECODE=1 python3 scripts/paho_interop.py "$dir/parley" "$folder/interoperability" "$@"
