#!/bin/sh
# Builds the web app from web/ into web/dist, where the Go package web embeds
# it. Does nothing when what it is built from is as it was. Where Node.js 20 or
# npm is missing, or the registry is out of reach, the app is left out: the
# server works without it, and says so at /.
set -eu

cd "$(dirname "$0")/../web"

leave_out() {
	echo "build-web: $*; the web app is left out of this build" >&2
	exit 0
}

# What the build depends on, as one sum: times change with every checkout.
sources() {
	find package.json package-lock.json .npmrc tsconfig.base.json app sdk \
		\( -name node_modules -o -name dist -o -name test \) -prune -o -type f -print |
		LC_ALL=C sort | xargs cksum | cksum
}

sum=$(sources)
if [ -f dist/index.html ] && [ "$(cat dist/.sources 2>/dev/null)" = "$sum" ]; then
	exit 0
fi

command -v node >/dev/null 2>&1 || leave_out "there is no Node.js"
command -v npm >/dev/null 2>&1 || leave_out "there is no npm"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || leave_out "Node.js is older than 20"

# A copy of the lock file says what is installed.
if ! cmp -s package-lock.json node_modules/.installed; then
	echo "build-web: installing what the web app is built with into web/node_modules" >&2
	npm ci --no-audit --no-fund --loglevel=error >&2 || leave_out "npm ci failed"
	cp package-lock.json node_modules/.installed
fi

echo "build-web: building the web app" >&2
npm run --silent build -w app >&2
echo "$sum" >dist/.sources
