#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh --kernel BZIMAGE [options] -- COMMAND [ARG...]
#
# Boots a guest, runs COMMAND in it as root in the directory guest.sh was
# called in, shows its output and returns its exit status. The guest's root is
# the host's, under an overlay: it sees every file here and changes none.
#
#   --timeout S   the guest is hung if COMMAND has not ended after S seconds (600)
#   --name NAME   how the directory of the run, $BUILD/logs/NAME.*, is called
#   --dir-file F  writes the name of the directory of the run to F
#   --append ARGS more for the kernel command line
#   --qemu ARGS   more for QEMU's command line
#   --icount      one CPU, and a clock that goes on by a nanosecond with each of its
#                 instructions; the time limit is one of this clock, too
#   --shell       COMMAND gets this terminal
#   --no-scan     do not fail because of reports in the kernel log
#
# In the guest: /dev/pmem0 (QEMU's nvdimm, fsdax mode, 1022 MiB) and /dev/pmem1
# (memmap=, 1 GiB), both DAX capable, nothing on them; the RDMA devices
# rxe0 over the interface dum0, 192.0.2.1, and siw0 over dum1, 198.51.100.1.
#
# Environment: BUILD, ACCEL (kvm or tcg; else a probe boot decides, once).
# Exit status: COMMAND's; 124 hung, 125 guest panicked or ended early, 126 reports
# in the kernel log.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

kernel='' timeout=600 name=guest append='' qemu='' shell='' scan=y dir_file='' icount=''
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=$2; shift ;;
	--timeout) timeout=$2; shift ;;
	--name) name=$2; shift ;;
	--dir-file) dir_file=$2; shift ;;
	--append) append=$2; shift ;;
	--qemu) qemu=$2; shift ;;
	--icount) icount=y ;;
	--shell) shell=y ;;
	--no-scan) scan='' ;;
	--) shift; break ;;
	*) die "guest.sh: unknown option $1" ;;
	esac
	shift
done
if [ -z "$kernel" ] || [ $# -eq 0 ]; then
	die "usage: guest.sh --kernel BZIMAGE [options] -- COMMAND [ARG...]"
fi
[ -r "$kernel" ] || die "no kernel at $kernel"
need qemu-system-x86_64 busybox cpio

# --- KVM or not ----------------------------------------------------------------
# KVM does not count.
[ -z "$icount" ] || ACCEL=tcg
# /dev/kvm may be there and a guest hang in it for ever: believe a boot only.
if [ -z "${ACCEL:-}" ]; then
	if [ ! -r "$BUILD/accel" ]; then
		ACCEL=tcg
		if [ -w /dev/kvm ]; then
			say "trying KVM with a probe boot (at most 20 s)"
			if ACCEL=kvm timeout -k 5 20 "$0" --kernel "$kernel" \
			    --name kvm-probe --timeout 20 --no-scan -- true \
			    >"$BUILD/logs/kvm-probe.log" 2>&1; then
				ACCEL=kvm
			fi
		fi
		say "guests run under $ACCEL (remembered in $BUILD/accel)"
		echo $ACCEL >"$BUILD/accel.$$" && mv "$BUILD/accel.$$" "$BUILD/accel"
	fi
	ACCEL=$(cat "$BUILD/accel")
fi
case $ACCEL in
kvm) accel='-accel kvm' grace=60 ;;
tcg) accel='-accel tcg,thread=multi' grace=300 ;;
*) die "ACCEL is kvm or tcg, not $ACCEL" ;;
esac
cpus=2
if [ -n "$icount" ]; then
	accel='-accel tcg -icount shift=0,sleep=off' grace=7200 cpus=1
fi

# --- the directory of this run, writable by the guest ------------------------------
dir=$(mktemp -d "$BUILD/logs/$name.XXXXXX") || exit 1
share=$dir/guest
mkdir "$share" "$dir/initramfs" || exit 1
[ -z "$dir_file" ] || echo "$dir" >"$dir_file"
tty=''
if [ -n "$shell" ]; then
	size=$(stty size 2>/dev/null)
	case $size in
	'' | 0*) size='24 80' ;;
	esac
	tty="rows ${size% *} cols ${size#* }"
fi
{
	echo "timeout=$timeout"
	echo "tty='$tty'"
} >"$share/settings"
{
	quote()
	{
		printf " '%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
	}
	printf 'export HOME=/root LC_ALL=C.UTF-8 TERM=%s\n' "${TERM:-dumb}"
	printf 'cd'; quote "$PWD"; printf ' || exit 1\nexec'
	for arg; do quote "$arg"; done
	echo
} >"$share/command"
cp "$(dirname -- "$0")/guest-rc.sh" "$share/rc" || exit 1

(
	cd "$dir/initramfs" || exit 1
	mkdir bin dev proc host over root &&
	cp "$(command -v busybox)" bin/busybox &&
	cp "$top/tools/harness/guest-init" init && chmod 755 init &&
	for applet in sh mount umount mkdir switch_root poweroff; do
		ln -s busybox bin/$applet || exit 1
	done &&
	find . | cpio --quiet -o -H newc >../initramfs.cpio
) || die "cannot make the initramfs in $dir"
rm -rf "$dir/initramfs"

# --- the boot --------------------------------------------------------------------
log=$dir/console.log
cmdline="console=ttyS0 ignore_loglevel panic=-1 oops=panic"
# On a busy host the emulated timer is too late for the kernel's test of it.
cmdline="$cmdline no_timer_check"
cmdline="$cmdline memmap=1G!4G rcupdate.rcu_cpu_stall_timeout=120 $append"
# With five levels, an interrupt while the boot CPU is being identified makes KASAN
# report a good address, since for a moment the CPU seems to have four only.
cpu=max,la57=off
# the second serial port is our own terminal; Ctrl-C is the guest's in a shell
signal=on
[ -z "$shell" ] || signal=off

boot()
{
	# shellcheck disable=SC2086 # $accel and $qemu are lists of words
	timeout --foreground -k 10 $((timeout + grace)) \
	qemu-system-x86_64 $accel -cpu $cpu -smp $cpus -nodefaults -display none \
		-machine q35,nvdimm=on -m 4G,slots=4,maxmem=12G \
		-object memory-backend-ram,id=nv0,size=1G \
		-device nvdimm,memdev=nv0 \
		-chardev "file,id=log,path=$log" -serial chardev:log \
		-chardev "stdio,id=tty,signal=$signal" -serial chardev:tty \
		-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
		-virtfs "local,path=$share,mount_tag=run,security_model=none" \
		-device virtio-rng-pci -no-reboot \
		-kernel "$kernel" -initrd "$dir/initramfs.cpio" \
		-append "$cmdline" $qemu 2>"$dir/qemu.log"
}

if [ -n "$shell" ]; then
	boot
else
	# Through a pipe: QEMU makes its standard output non-blocking, which the
	# caller's must not become.
	{ boot </dev/null; echo $? >"$dir/qemu.status"; } | cat
fi
rm -f "$dir/initramfs.cpio"

# --- how it ended ------------------------------------------------------------------
# report SENTENCE [MARK]: with the end of the log, or what follows MARK in it
report()
{
	printf 'error: %s (kernel log: %s)\n' "$1" "$log" >&2
	if [ -n "${2:-}" ] && grep -q "$2" "$log"; then
		sed -n "/$2/,\$p" "$log" | head -n 60
	else
		tail -n 20 "$log"
	fi | tr -d '\r' | sed 's/^/  | /' >&2
}

if [ -s "$dir/qemu.log" ]; then
	sed 's/^/qemu: /' "$dir/qemu.log" >&2
fi
if [ -e "$share/hung" ]; then
	report "guest hung: the command did not end within $timeout s" \
		'guest-rc: still running'
	exit 124
fi
if [ ! -s "$share/status" ]; then
	if grep -q 'Kernel panic' "$log"; then
		printf 'error: guest panicked (kernel log: %s)\n' "$log" >&2
		sh "$top/tools/harness/logscan.sh" "$log" |
			tr -d '\r' | head -n 60 >&2
		exit 125
	fi
	case $(cat "$dir/qemu.status" 2>/dev/null) in
	124 | 137)
		report "guest hung: no end within $((timeout + grace)) s"
		exit 124 ;;
	esac
	report "guest ended early"
	exit 125
fi
status=$(cat "$share/status")
if [ -n "$scan" ]; then
	if ! sh "$top/tools/harness/logscan.sh" "$log" >"$dir/reports"; then
		printf 'error: the kernel reported trouble (kernel log: %s)\n' "$log" >&2
		tr -d '\r' <"$dir/reports" | head -n 120 >&2
	fi
	if [ -s "$share/kmemleak" ]; then
		printf 'error: kmemleak found unreferenced objects (all of them: %s)\n' \
			"$share/kmemleak" >&2
		head -n 60 "$share/kmemleak" | sed 's/^/  | /' >&2
	fi
	if [ -s "$dir/reports" ] || [ -s "$share/kmemleak" ]; then
		exit 126
	fi
fi
exit "$status"
