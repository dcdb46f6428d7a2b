#!/bin/sh
# Runs the tests of client libraries that take a live server against a fresh
# Parley:
#
#   scripts/library-suites.sh [TEST...]
#
# The libraries are those of go.mod; scripts/library_suites.py says which tests
# run, and why the others do not. Needs Go and Python 3.8 or newer.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
CGO_ENABLED=0 go build -trimpath -o "$dir/parley" ./cmd/parley
PYTHONDONTWRITEBYTECODE=1 python3 scripts/library_suites.py "$dir/parley" "$@"
