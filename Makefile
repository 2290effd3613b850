# SPDX-License-Identifier: GPL-2.0
#
# make help

# all that is built; may be elsewhere
BUILD ?= $(CURDIR)/build
# base or debug
KERNEL ?= base
export BUILD KERNEL_TREE FORCE ACCEL JOBS GUESTS TIMEOUT TEST_TIMEOUT FROM TO \
	DURATION LAYOUT_LEASE_RDMA

h := tools/harness
bzimage = $(abspath $(BUILD))/kernel-$(KERNEL)/arch/x86/boot/bzImage
headers = $(abspath $(BUILD))/kernel-$(KERNEL)/usr/include

.PHONY: help demo 3am check canary bench shell kernel tree refresh apply mbox matrix each \
	tools drivers docs install packages clean distclean

help:
	@echo 'make demo                 the demonstration, in a guest'
	@echo 'make 3am                  a full file system, "Text file busy", and the way out'
	@echo 'make check                the selftests, in a guest'
	@echo '     KERNEL=debug         on the debug kernel (KASAN, lockdep, kmemleak ...)'
	@echo '     TESTS="name ..."     some of them'
	@echo 'make canary               remote writers against truncate: not one stray byte'
	@echo '     DURATION=s           how long, four variants together (60)'
	@echo '     SABOTAGE=1           on kernels broken on purpose, which have to be caught;'
	@echo '                          or SABOTAGE="name ..." of tools/canary/*-name.patch'
	@echo 'make bench                what it costs, in guest instructions, against a stock'
	@echo '                          kernel: table, JSON and plot in build/bench/'
	@echo 'make shell                a root shell in a guest'
	@echo 'make tools; make install  leaserun, lspins, manual pages (PREFIX=, DESTDIR=)'
	@echo
	@echo 'Work on the series:'
	@echo 'make tree                 patches/ -> build/tree, branch series on tag base'
	@echo '     FORCE=1              drops work in build/tree that is not in patches/'
	@echo '     KERNEL_TREE=path     base from your own git tree or unpacked source'
	@echo 'make kernel               build/tree -> build/kernel-base (or KERNEL=debug)'
	@echo 'make drivers              compiles the RDMA drivers that no guest can run'
	@echo 'make docs                 checks the kernel documentation of the series, and builds it'
	@echo 'make refresh              build/tree -> patches/'
	@echo 'make apply KDIR=path      the series onto another git tree, by git am'
	@echo 'make matrix               the rules and their tests, in MAINTAINERS-notes.md'
	@echo 'make each                 builds, boots and checkpatches every patch; hours'
	@echo '     FROM=n TO=n          some of them'
	@echo 'make mbox                 build/series.mbox, selftests included, for git send-email'
	@echo 'make clean                removes kernels, logs and tools from build/'
	@echo 'make distclean            removes build/'
	@echo
	@echo 'check, demo and shell do all set-up themselves. BUILD=dir builds elsewhere,'
	@echo 'ACCEL=kvm|tcg overrides the probe, JOBS=n the number of compile jobs,'
	@echo 'GUESTS=n the number of guests that share the tests (2; 3 on the debug'
	@echo 'kernel with 12 GB of free memory; 1 on a single CPU),'
	@echo 'TIMEOUT=s and TEST_TIMEOUT=s the patience with a guest and with a test program.'

packages:
	@sh $(h)/packages.sh

tree: packages
	@sh $(h)/tree.sh

# what demo, check and shell start from: work in the tree is built, not refused
kernel: packages
	@sh $(h)/tree.sh --keep
	@sh $(h)/kernel.sh $(KERNEL)

check: kernel
	@sh $(h)/check.sh $(KERNEL) $(TESTS)

shell: kernel
	@sh $(h)/guest.sh --kernel $(bzimage) --name shell --shell --no-scan \
		--timeout 86400 -- bash -l

# of the plain kernel, whatever KERNEL is, is what is sabotaged and what is counted
ifneq ($(SABOTAGE),)
canary: override KERNEL := base
endif
canary: kernel
	@sh $(h)/canary.sh $(if $(SABOTAGE),sabotage $(filter-out 1,$(SABOTAGE)),$(KERNEL))

bench: override KERNEL := base
bench: tools
	@sh $(h)/bench.sh $(abspath $(BUILD))/tools/bench

tools: kernel
	@$(MAKE) --no-print-directory -C tools O=$(abspath $(BUILD))/tools HDR=$(headers)

# needs no kernel: what "make tools" has built
install:
	@$(MAKE) --no-print-directory -C tools O=$(abspath $(BUILD))/tools install

demo: tools
	@sh $(h)/guest.sh --kernel $(bzimage) --name demo --timeout $(or $(TIMEOUT),600) \
		-- env LEASE_BUILD=$(abspath $(BUILD))/tools tools/demo/demo.sh

3am: tools
	@sh $(h)/guest.sh --kernel $(bzimage) --name 3am --timeout $(or $(TIMEOUT),600) \
		-- env LEASE_BUILD=$(abspath $(BUILD))/tools tools/demo/3am.sh

drivers: packages
	@sh $(h)/tree.sh --keep
	@sh $(h)/drivers.sh

docs:
	@sh $(h)/packages.sh python3-sphinx python3-yaml
	@sh $(h)/tree.sh --keep
	@sh $(h)/docs.sh

refresh:
	@sh $(h)/refresh.sh

apply:
	@sh $(h)/apply.sh '$(KDIR)'

mbox: tree
	@sh $(h)/mbox.sh

matrix:
	@sh $(h)/matrix.sh

each: packages
	@sh $(h)/tree.sh --keep
	@sh $(h)/each.sh

clean:
	rm -rf $(BUILD)/kernel-base $(BUILD)/kernel-debug $(BUILD)/kernel-each \
		$(BUILD)/kernel-drivers $(BUILD)/docs \
		$(BUILD)/kernel-sabotage $(BUILD)/tree-sabotage* \
		$(BUILD)/kernel-stock $(BUILD)/tree-stock* $(BUILD)/bench \
		$(BUILD)/tools $(BUILD)/logs $(BUILD)/accel $(BUILD)/series \
		$(BUILD)/series.mbox

# the tree may hold work that is nowhere else
distclean:
	@sh $(h)/tree.sh --idle
	rm -rf $(BUILD)
