#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# packages.sh [PACKAGE...]: installs the Debian packages that are missing, those
# named as well, as root or by sudo without a password; else prints the command to run.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

# a kernel, the selftests and the tools are built with these
packages="build-essential bc bison flex libelf-dev git rsync xz-utils cpio
	libibverbs-dev librdmacm-dev libmnl-dev libsmartcols-dev"
# the guest runs on these, and has them in its root file system
packages="$packages qemu-system-x86 busybox-static procps iproute2 kmod
	xfsprogs e2fsprogs ndctl perftest rdma-core ibverbs-providers
	ibverbs-utils rdmacm-utils"
# lspins is tested with these
packages="$packages mandoc jq"
packages="$packages $*"

need dpkg-query apt-get
missing=''
for p in $packages; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) in
	installed) ;;
	*) missing="$missing $p" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
	sudo=''
elif sudo -n true 2>/dev/null; then
	sudo='sudo -n'
else
	die "Debian packages are missing; run this as root, then try again: apt-get install --no-install-recommends$missing"
fi

log=$BUILD/logs/packages.log
install_packages()
{
	$sudo apt-get -q update || return 1
	# shellcheck disable=SC2086 # lists of words
	$sudo env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -y install --no-install-recommends $missing
}
run_logged "$log" "installing Debian packages:$missing" install_packages ||
	die_log "$log" "could not install the Debian packages$missing"
