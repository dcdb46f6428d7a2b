#!/bin/sh
# Makes sure that what the tests start is there: a Postgres server, mosquitto
# with its clients, Chromium, the client libraries of Python and Node, what the
# clients in web/ are built with, the web app, proxies (nginx, HAProxy, Caddy),
# what checks a unit of systemd and rules of Prometheus, and what the documents'
# commands and snippets need: curl and a Java compiler. Does nothing when it is.
# Installs nothing that keeps running: the tests start private servers of their
# own.
set -eu

PATH="$PATH:/usr/sbin"

say() {
	echo "test-deps: $*" >&2
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# Debian keeps the server binaries of Postgres off the PATH.
have_postgres() {
	if have postgres && have initdb && have pg_ctl; then
		return 0
	fi
	for dir in /usr/lib/postgresql/*/bin; do
		if [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ]; then
			return 0
		fi
	done
	return 1
}

# Debian's library is not seen by a Python of the user's own.
have_python_paho() {
	for python in python3 /usr/bin/python3; do
		if have "$python" && "$python" -c 'import paho.mqtt.client' 2>/dev/null; then
			return 0
		fi
	done
	return 1
}

# What npm installs, in the versions of package-lock.json. A copy of that file
# says what is installed, so that a later change is seen.
root=$(cd "$(dirname "$0")/.." && pwd)
install_node_packages() {
	for dir in test/clients/node web; do
		if [ -f "$root/$dir/node_modules/.installed" ] &&
			cmp -s "$root/$dir/package-lock.json" "$root/$dir/node_modules/.installed"; then
			continue
		fi
		say "installing what Node needs into $dir/node_modules"
		(cd "$root/$dir" && npm ci --no-audit --no-fund --loglevel=error >&2)
		cp "$root/$dir/package-lock.json" "$root/$dir/node_modules/.installed"
	done
}

# The web app is built before any test: the binary that several of them build
# has it inside. Where it cannot be built, test/browser says why and fails.
build_web() {
	"$root/scripts/build-web.sh"
}

have_chromium() {
	have chromium || have chromium-browser || have google-chrome
}

# The module that test/deploy loads; elsewhere than on Debian it is built in.
nginx_stream=/usr/lib/nginx/modules/ngx_stream_module.so
have apt-get || nginx_stream=/

packages=
have_postgres || packages="$packages postgresql"
have mosquitto || packages="$packages mosquitto"
if ! have mosquitto_pub || ! have mosquitto_sub; then
	packages="$packages mosquitto-clients"
fi
have_python_paho || packages="$packages python3 python3-paho-mqtt"
have nginx || packages="$packages nginx"
[ -e "$nginx_stream" ] || packages="$packages libnginx-mod-stream"
have haproxy || packages="$packages haproxy"
have caddy || packages="$packages caddy"
have systemd-analyze || packages="$packages systemd"
have promtool || packages="$packages prometheus"
have_chromium || packages="$packages chromium"
have node || packages="$packages nodejs"
have npm || packages="$packages npm"
have curl || packages="$packages curl"
have javac || packages="$packages default-jdk-headless"
if [ -z "$packages" ]; then
	install_node_packages
	build_web
	exit 0
fi

if ! have apt-get; then
	say "missing:$packages"
	say "there is no apt-get here; install them by hand (a PostgreSQL server, the mosquitto broker and its clients, paho-mqtt for python3, nginx with its stream module, haproxy, caddy, systemd-analyze, promtool, Chromium, Node.js and npm, curl, a JDK)"
	exit 1
fi

as_root() {
	"$@"
}
if [ "$(id -u)" -ne 0 ]; then
	if ! have sudo; then
		say "missing:$packages"
		say "installing them needs root, and there is no sudo: run apt-get install$packages as root"
		exit 1
	fi
	as_root() {
		sudo "$@"
	}
fi

# Installing a server on Debian starts it, and for Postgres makes a cluster.
# Neither is wanted here. Files that were there before us are left alone.
policy=/usr/sbin/policy-rc.d
nocluster=/etc/postgresql-common/createcluster.d/parley-tests.conf
made_policy=
made_nocluster=

cleanup() {
	[ -z "$made_policy" ] || as_root rm -f "$policy"
	[ -z "$made_nocluster" ] || as_root rm -f "$nocluster"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ ! -e "$policy" ]; then
	made_policy=1
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
fi
if [ ! -e "$nocluster" ]; then
	made_nocluster=1
	as_root mkdir -p "$(dirname "$nocluster")"
	echo 'create_main_cluster = false' | as_root tee "$nocluster" >/dev/null
fi

say "installing$packages"
as_root apt-get update -qq >&2
# The list is split into words on purpose.
# shellcheck disable=SC2086
as_root env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y -qq --no-install-recommends $packages >&2

# The packages would start their servers at the next boot.
for server in mosquitto nginx haproxy caddy prometheus; do
	case "$packages " in
	*" $server "*)
		if have systemctl; then
			as_root systemctl disable "$server.service" >/dev/null 2>&1 || true
		fi
		;;
	esac
done

if ! have_postgres || ! have mosquitto || ! have mosquitto_pub || ! have mosquitto_sub ||
	! have_python_paho || ! have nginx || ! have haproxy || ! have caddy || ! have systemd-analyze || ! have promtool || ! have_chromium || ! have node || ! have npm || ! have curl || ! have javac; then
	say "apt-get is done, but something is still missing of: postgres, initdb, pg_ctl, mosquitto, mosquitto_pub, mosquitto_sub, paho-mqtt for python3, nginx, haproxy, caddy, systemd-analyze, promtool, chromium, node, npm, curl, javac"
	exit 1
fi
install_node_packages
build_web
