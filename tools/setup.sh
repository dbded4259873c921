#!/usr/bin/env bash
# Install and build all that the lab and the tests need; quick when there is nothing to do.
#
#   1. Debian packages that are missing (apt, with sudo where we are not root)
#   2. side by side: .venv | the guests' image | Terraform's provider
#
# PYTHON names an interpreter (3.11 or newer); VMNET_CACHE the folder for what is built once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export VMNET_CACHE="${VMNET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pytest-vmnet}"
LOGS="$VMNET_CACHE/log"
NEEDED_MB=4000

PACKAGES=(
	ca-certificates   # pip and Go
	e2fsprogs         # the guests' disk
	ethtool           # probes on the node
	iproute2          # namespaces, bridges, taps
	iputils-arping    # duplicate addresses
	iputils-ping      # probes
	mmdebstrap        # the guests' packages
	nftables          # faults, and the node's firewall
	openssh-client    # the gate's way to the node
	openssh-server    # the node's side of it
	procps            # what the probes look at on the node
	python3           # 3.11 or 3.13
	python3-venv
	qemu-system-x86   # the guests
	qemu-utils        # their disks
	tcpdump           # captures
	util-linux        # unshare, nsenter, setpriv
)
command -v busybox >/dev/null || PACKAGES+=(busybox) # the shell and the ping of small guests
[ "$(id -u)" = 0 ] || PACKAGES+=(uidmap) # mmdebstrap without root

started=$SECONDS
step() { printf '%-44s %s\n' "$1" "$2"; }
die() {
	printf '\nsetup: %s\n' "$1" >&2
	exit 1
}

# --- Debian packages --------------------------------------------------------------------------

missing_packages() {
	local package
	for package in "${PACKAGES[@]}"; do
		case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
		"install ok installed") ;;
		*) echo "$package" ;;
		esac
	done
}

check_machine() {
	local id version free_mb
	id=$(. /etc/os-release && echo "${ID:-}")
	version=$(. /etc/os-release && echo "${VERSION_ID:-}")
	if [ "$id" != debian ] || { [ "$version" != 12 ] && [ "$version" != 13 ]; }; then
		die "this machine is ${id:-unknown} ${version:-?}; the lab is built from Debian 12 or 13.
Run it on such a machine, in a virtual machine or a privileged container of Debian 12 or 13."
	fi
	[ "$(dpkg --print-architecture)" = amd64 ] ||
		die "this machine is $(dpkg --print-architecture); the lab's guests are amd64."
	mkdir -p "$LOGS"
	free_mb=$(df --output=avail -BM "$VMNET_CACHE" | tr -dc '0-9')
	if [ ! -f "$VMNET_CACHE/setup-done" ] && [ "$free_mb" -lt "$NEEDED_MB" ]; then
		die "$VMNET_CACHE has $free_mb MB free; $NEEDED_MB MB are needed.
Free some, or name a folder elsewhere: VMNET_CACHE=/folder make setup"
	fi
}

install_packages() {
	local missing begun=$SECONDS log="$LOGS/apt.log" as_root=() had_sshd=1 policy=/usr/sbin/policy-rc.d
	mapfile -t missing < <(missing_packages)
	[ "${#missing[@]}" -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null ||
			die "these Debian packages are missing, and there is no sudo. As root:
    apt-get install --no-install-recommends ${missing[*]}"
		as_root=(sudo)
	fi
	[[ " ${missing[*]} " != *" openssh-server "* ]] || had_sshd=0
	echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
	# No service of theirs starts: not one port of this machine is opened by a set-up.
	local guard=0
	if [ ! -e "$policy" ]; then
		guard=1
		printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
		"${as_root[@]}" chmod 755 "$policy"
	fi
	local code=0
	{
		"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update &&
			"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
				--no-install-recommends install "${missing[@]}"
	} >"$log" 2>&1 </dev/null || code=$?
	[ "$guard" = 0 ] || "${as_root[@]}" rm -f "$policy"
	if [ "$had_sshd" = 0 ] && [ "$code" = 0 ]; then
		if command -v systemctl >/dev/null; then
			"${as_root[@]}" systemctl disable ssh.service ssh.socket >>"$log" 2>&1 || true
		fi
		echo "openssh-server was installed for the lab; its service is neither started nor enabled"
	fi
	if [ "$code" != 0 ]; then
		tail -n 25 "$log" >&2
		die "apt-get failed (the whole log: $log).
Look at the first error above; is there a network, and are apt's sources right? Then: make setup"
	fi
	step "Debian packages" "$((SECONDS - begun)) s"
}

# --- Python -----------------------------------------------------------------------------------

find_python() {
	local candidate
	for candidate in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3; do
		if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null; then
			command -v "$candidate"
			return
		fi
		[ -z "${PYTHON:-}" ] || break
	done
	die "no Python 3.11 or newer with venv${PYTHON:+ at PYTHON=$PYTHON}. Name one: PYTHON=... make setup"
}

venv_key() { # what .venv was made from
	sha256sum pyproject.toml tools/setup.sh | sha256sum | cut -c1-16
	"$python" -c 'import sys; print(sys.executable, sys.version)'
	pwd
}

venv_is_ready() {
	[ -x .venv/bin/vmnet ] && [ -x .venv/bin/pytest ] && [ -f .venv/made-from ] &&
		[ "$(cat .venv/made-from)" = "$(venv_key)" ]
}

make_venv() {
	rm -f .venv/made-from
	"$python" -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv/bin/python -m pip install --quiet -e '.[lab]' --group dev
	venv_key >.venv/made-from
}

# --- side by side -----------------------------------------------------------------------------

build_image() { "$python" -m pytest_vmnet.lab.image; }
build_provider() { "$python" -m pytest_vmnet.lab.toolchain; }

job() { # NAME WORDS: run a function with its log; say how long it took
	local begun=$SECONDS log="$LOGS/$1.log" code=0
	# errexit is off in a function whose code is looked at, hence the shell of its own.
	(
		set -e
		"$1"
	) >"$log" 2>&1 </dev/null &
	wait $! || code=$?
	if [ "$code" != 0 ]; then
		step "$2" "FAILED after $((SECONDS - begun)) s"
		return 1
	fi
	# Nothing to say of what was there already.
	if [ $((SECONDS - begun)) -gt 1 ]; then step "$2" "$((SECONDS - begun)) s"; fi
}

check_machine
install_packages
python=$(find_python)

declare -A words=(
	[make_venv]=".venv: the plugin, the lab, the tools"
	[build_image]="guest image"
	[build_provider]="Terraform provider"
)
declare -A jobs=()
declare -a wanted=(build_image build_provider)
venv_is_ready || wanted+=(make_venv)
stop_jobs() {
	for name in "${!jobs[@]}"; do kill -- "-${jobs[$name]}" 2>/dev/null || true; done
	exit 130
}
trap stop_jobs INT TERM
set -m # each job is a process group, so that stopping one stops all that it started
for name in "${wanted[@]}"; do
	job "$name" "${words[$name]}" &
	jobs[$name]=$!
done
set +m
failed=()
for name in "${!jobs[@]}"; do wait "${jobs[$name]}" || failed+=("$name"); done
for name in "${failed[@]}"; do
	printf '\n--- %s, the end of %s\n' "${words[$name]}" "$LOGS/$name.log" >&2
	tail -n 25 "$LOGS/$name.log" >&2
done
[ "${#failed[@]}" = 0 ] ||
	die "not done. Most often the network is what failed: run 'make setup' again, it goes on where
it stopped. What was built is kept in $VMNET_CACHE"
if [ ! -f "$VMNET_CACHE/setup-done" ] || [ $((SECONDS - started)) -gt 2 ]; then
	touch "$VMNET_CACHE/setup-done"
	step "set-up done" "$((SECONDS - started)) s"
fi
