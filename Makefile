# mailtwin: build, checks and tests. `make help` lists the targets.
# Variants are build folders: build/gcc (default), clang, asan, tsan, cover, fuzz: make VARIANT=asan

VARIANT ?= gcc
B       := build/$(VARIANT)
PREFIX  ?= /usr/local

MAKEFLAGS += --no-builtin-rules
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j2 # for who gives none
endif
comma := ,
.DELETE_ON_ERROR:
.SECONDARY:

CC_gcc := gcc
CC_clang := clang-14
CC_asan := clang-14
CC_tsan := clang-14
CC_cover := gcc
CC_fuzz := clang-14
CC_analyze := gcc
CC := $(CC_$(VARIANT))
$(if $(CC),,$(error no such variant: $(VARIANT)))

WARN := -Wall -Wextra -Wconversion -Wsign-conversion -Wcast-qual -Wshadow -Wundef -Wvla \
	-Wwrite-strings -Wpointer-arith -Wredundant-decls -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wnull-dereference -Wimplicit-fallthrough -Wfloat-equal -Wdate-time
WARN_gnu := -Wformat-signedness -Wformat-overflow=2 -Wduplicated-cond -Wduplicated-branches \
	-Wlogical-op -Wjump-misses-init -Wcast-align=strict
WARN_llvm := -Wmissing-variable-declarations -Wcomma -Wthread-safety
WARN_gcc := $(WARN_gnu)
WARN_cover := $(WARN_gnu)
WARN_analyze := $(WARN_gnu)
WARN_clang := $(WARN_llvm)
WARN_asan := $(WARN_llvm)
WARN_tsan := $(WARN_llvm)
WARN_fuzz := $(WARN_llvm)
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
MODE_gcc := -O2 -D_FORTIFY_SOURCE=3 -ftrivial-auto-var-init=zero
MODE_clang := -O2 -D_FORTIFY_SOURCE=2
MODE_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DMAILTWIN_FAULTS
# tsan leaves a program too little address space for two databases of the usual bound.
MODE_tsan := -O1 -fsanitize=thread -DMAILTWIN_FAULTS -DMAP_SIZE_DEFAULT="(1ULL<<34)"
# Counters lie in sections of their own, for counters.ld; fork() and exec() are not to touch them.
MODE_cover := -O0 --coverage -fprofile-update=atomic -fdata-sections -fno-builtin-fork \
	-fno-builtin-execl -fno-builtin-execv -DMAILTWIN_FAULTS
MODE_fuzz := -O1 -fsanitize=address,undefined,fuzzer-no-link -fno-omit-frame-pointer
MODE_analyze := -O0 -fanalyzer -Wno-unused-value
# Analysers see one file at a time; err.c itself cannot be told what it returns, and the plugin knows
# nothing of ours.
SEEN_analyze = $(if $(filter-out lib/base/err.c plugin/%,$<),-include tests/tools/analyzer.h)
# Warnings stop the build where developers and CI build; a tarball (no .git) builds on any compiler.
WERROR := $(if $(wildcard .git),-Werror)

PKGS := libuv lmdb openssl libzstd libconfuse jansson libseccomp libcap-ng libisal libsystemd
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lrsync -lpthread

CFLAGS ?= -g
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -I. -I$(B)/gen $(CFLAGS) $(WARN) $(WARN_$(VARIANT)) $(WERROR) $(HARDEN) \
	$(MODE_$(VARIANT)) $(PKG_CFLAGS)
ALL_LDFLAGS = $(LDFLAGS) $(MODE_$(VARIANT)) -pie -Wl,-z,relro,-z,now

LIB_SRC  := $(wildcard lib/*/*.c)
REPL_SRC := $(wildcard replicator/*.c) $(wildcard replicator/*/*.c)
CLI_SRC  := $(wildcard cli/*.c)
# Programs of one folder each: FOLDER:PROGRAM:libraries of its own. Each is built when its folder is there.
FOLDERS  := gate:mailtwin-gate: directory:mailtwin-directoryd:-lldap,-llber dumps:mailtwin-dumpd:
word_of   = $(word $(1),$(subst :, ,$(2)))
OWN_SRC  := $(foreach f,$(FOLDERS),$(wildcard $(call word_of,1,$(f))/*.c))
TEST_SRC := $(wildcard tests/unit/*.c) $(wildcard tests/sim/*.c) $(wildcard tests/faults/*.c) $(wildcard tests/golden/*.c)
FUZZ_SRC := $(wildcard tests/fuzz/*.c)
# The plugin for Dovecot needs Debian's dovecot-dev; all else is built without.
DOVECOT_INCLUDE ?= /usr/include/dovecot
DOVECOT_MODULES ?= /usr/lib/dovecot/modules
PLUGIN_PURE := plugin/dovecot/kinds.c plugin/dovecot/wait.c
PLUGIN_SRC := $(if $(wildcard $(DOVECOT_INCLUDE)/mail-storage-private.h),$(wildcard plugin/dovecot/*.c))
PRODUCT_SRC := $(LIB_SRC) $(REPL_SRC) $(CLI_SRC) $(OWN_SRC) $(or $(PLUGIN_SRC),$(PLUGIN_PURE))
COVER_SRC := tests/tools/counters.c
ALL_SRC  := $(PRODUCT_SRC) $(TEST_SRC) $(COVER_SRC)
ALL_HDR  := $(wildcard include/*/*.h lib/*/*.h replicator/*.h replicator/*/*.h cli/*.h plugin/*/*.h tests/*/*.h) \
	$(foreach f,$(FOLDERS),$(wildcard $(call word_of,1,$(f))/*.h))
obj = $(patsubst %.c,$(B)/%.o,$(1))

BUILT    := $(foreach f,$(FOLDERS),$(if $(wildcard $(call word_of,1,$(f))/main.c),$(f)))
PROGRAMS := $(B)/mailtwin $(B)/mailtwin-replicatord $(foreach f,$(BUILT),$(B)/$(call word_of,2,$(f)))
BARRIER  := $(B)/libmailtwin-barrier.so.0
PLUGIN   := $(if $(PLUGIN_SRC),$(B)/lib95_mailtwin_plugin.so)

.PHONY: all objects
all: $(PROGRAMS) $(BARRIER) $(PLUGIN)
	@$(if $(PLUGIN),:,echo "  NOT     plugin for Dovecot: $(DOVECOT_INCLUDE) is missing (package dovecot-dev)")
objects: $(call obj,$(PRODUCT_SRC))

# What was built with other flags, or from another list of files, is built again.
remember = @mkdir -p $(@D); echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
$(B)/flags: FORCE
	$(call remember,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))
$(B)/sources: FORCE
	$(call remember,$(ALL_SRC))
.PHONY: FORCE
FORCE:

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(CC) $(ALL_CFLAGS) $(SEEN_$(VARIANT)) -MMD -MP -c $< -o $@

archive = @ar rcs $@.$$$$ $(filter %.o,$^) && mv $@.$$$$ $@
$(B)/libmailtwin.a: $(call obj,$(LIB_SRC)) $(B)/sources
	@echo "  AR      $@"
	$(archive)

# build/cover: all processes of a program count together, and what was linked anew begins at 0.
COUNTERS_cover := $(call obj,$(COVER_SRC)) tests/tools/counters.ld
COUNTERS := $(COUNTERS_$(VARIANT))
PROGRAM_LDFLAGS := $(if $(COUNTERS),-T tests/tools/counters.ld -Wl$(comma)--wrap=__gcov_exit)

link = @echo "  LD      $@"; $(if $(COUNTERS),rm -f $@.counters;) \
	$(CC) $(ALL_LDFLAGS) $(PROGRAM_LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -o $@
$(B)/mailtwin: $(call obj,$(CLI_SRC)) $(COUNTERS) $(B)/libmailtwin.a $(B)/flags $(B)/sources
	$(link)

$(B)/mailtwin-replicatord: $(call obj,$(REPL_SRC)) $(COUNTERS) $(B)/libmailtwin.a $(B)/flags $(B)/sources
	$(link)

define folder_rules
$(B)/$(call word_of,2,$(1)): LIBS += $(subst $(comma), ,$(call word_of,3,$(1)))
$(B)/$(call word_of,2,$(1)): $(call obj,$(wildcard $(call word_of,1,$(1))/*.c)) $(COUNTERS) \
		$(B)/libmailtwin.a $(B)/flags $(B)/sources
	$$(link)
endef
$(foreach f,$(BUILT),$(eval $(call folder_rules,$(f))))

# For other people's programs: needs nothing but libc, shows nothing but its three functions.
$(B)/barrier.pic.o: lib/barrier/barrier.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(CC) $(ALL_CFLAGS) -fPIC -MMD -MP -c $< -o $@
$(BARRIER): $(B)/barrier.pic.o deploy/barrier.map
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) $(MODE_$(VARIANT)) -shared -Wl,-soname,$(@F) -Wl,-z,relro,-z,now \
		-Wl,--version-script,deploy/barrier.map $< -o $@

# Lives in Dovecot's processes: without this build's sanitizers, and with Dovecot's headers as the
# system's, for they do not keep to our warnings.
DOVECOT_CFLAGS := -isystem $(DOVECOT_INCLUDE) -DHAVE_CONFIG_H -fPIC
MODE_plugin := $(filter-out -fsanitize% -fno-sanitize% --coverage -fprofile%,$(MODE_$(VARIANT)))
# private: else what an object of it needs, the record of flags first of all, would be made with them.
$(B)/plugin/%.o: private ALL_CFLAGS += $(DOVECOT_CFLAGS)
$(B)/%.dso.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(CC) $(filter-out $(MODE_$(VARIANT)),$(ALL_CFLAGS)) $(MODE_plugin) -fPIC -MMD -MP -c $< -o $@
$(PLUGIN): $(patsubst %.c,$(B)/%.dso.o,$(PLUGIN_SRC) lib/barrier/barrier.c) deploy/dovecot-plugin.map
	@echo "  LD      $@"
	@$(CC) $(LDFLAGS) $(MODE_plugin) -shared -Wl,-z,relro,-z,now \
		-Wl,--version-script,deploy/dovecot-plugin.map $(filter %.o,$^) -o $@

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# --- unit, golden, simulation and fault tests: each tests/*/X.c is one program ---
TEST_MAIN  := $(B)/tests/unit/test.o
TEST_PROGS := $(patsubst %.c,$(B)/%,$(filter-out tests/unit/test.c,$(TEST_SRC)))
# What programs share with tests: all their objects but main.
REPL_OBJ_NOMAIN := $(filter-out $(B)/replicator/main.o,$(call obj,$(REPL_SRC)))
CLI_OBJ_NOMAIN  := $(filter-out $(B)/cli/main.o,$(call obj,$(CLI_SRC)))

$(B)/libreplicator.a: $(REPL_OBJ_NOMAIN) $(B)/sources
	$(archive)
$(B)/libcli.a: $(CLI_OBJ_NOMAIN) $(B)/sources
	$(archive)
$(B)/libplugin.a: $(call obj,$(PLUGIN_PURE)) $(B)/sources
	$(archive)

# The folders' objects but their main.c: for tests.
$(B)/libfolders.a: $(filter-out %/main.o,$(call obj,$(OWN_SRC))) $(B)/sources
	$(archive)

TEST_LIBS := $(B)/libreplicator.a $(B)/libcli.a $(B)/libplugin.a $(if $(OWN_SRC),$(B)/libfolders.a) $(B)/libmailtwin.a
$(TEST_PROGS): LIBS += -lcmocka -lldap -llber
$(TEST_PROGS): $(B)/tests/%: $(B)/tests/%.o $(TEST_MAIN) $(COUNTERS) $(TEST_LIBS) $(B)/flags
	$(link)

# --- fuzz targets: each tests/fuzz/X.c, with X.dict and corpus/X beside it (make VARIANT=fuzz) ---
FUZZ_PROGS := $(patsubst %.c,$(B)/%,$(FUZZ_SRC))
$(FUZZ_PROGS): LIBS += -fsanitize=fuzzer -llber
$(FUZZ_PROGS): $(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(TEST_LIBS) $(B)/flags
	$(link)

.PHONY: test-programs fuzz-programs
test-programs: $(TEST_PROGS) $(PROGRAMS)
fuzz-programs: $(FUZZ_PROGS)

# --- tests: tests/tools/run-tests adds all kinds up to one line ---
RUN_TESTS := tests/tools/run-tests
# clang's static analyser takes nine tenths of clang-tidy's time: gcc's is the one of `make test`.
QUICK_CHECKS := check-tools check-layers check-shape check-docs check-shell check-units check-format \
	check-generated check-cppcheck check-analyzer check-tidy
CHECKS := $(QUICK_CHECKS) check-clang-analyzer
empty :=
stage_of = make:$(subst $(empty) $(empty),$(comma),$(1))
FUZZ_SECONDS ?= 600

.PHONY: test test-long unit cluster vm fuzz check lint demo bench-replication bench-durable dependencies
test: ## everything that fits in 15 minutes; installs what it needs; ends in `N passed, N failed`
	@deploy/dependencies build test
	@$(RUN_TESTS) programs:gcc programs:asan fuzz:10 $(call stage_of,$(QUICK_CHECKS)) scenarios:short
test-long: ## everything else: long seeds and scenarios, tsan, more fuzzing
	@deploy/dependencies
	@MAILTWIN_LONG=1 $(RUN_TESTS) --timeout 3600 --scenario-timeout 7200 \
		programs:gcc programs:asan programs:tsan fuzz:300 $(call stage_of,$(CHECKS)) scenarios:all
unit: ## the unit, golden, simulation and fault programs of VARIANT
	@$(RUN_TESTS) programs:$(VARIANT)
cluster: ## the scenarios on hosts made of namespaces (root)
	@$(RUN_TESTS) scenarios:short
vm: ## the scenarios on virtual machines (root); their image lies in build/vm
	@deploy/dependencies build vm
	@$(MAKE) all
	@/usr/bin/python3 -m pytest tests/vm
fuzz: ## each fuzz target for FUZZ_SECONDS
	@$(RUN_TESTS) fuzz:$(FUZZ_SECONDS)
check lint: ## all checks of the code without running it
	@$(RUN_TESTS) $(call stage_of,$(CHECKS))
demo: ## a pair of mail servers on this machine: mail, a crash, a takeover
	@deploy/dependencies build demo
	@$(MAKE) all
	@/usr/bin/python3 tests/cluster/demo.py
bench-replication: ## replication beside its peers; result in build/bench/replication.json
	@deploy/dependencies build bench
	@$(MAKE) all
	@/usr/bin/python3 tests/bench/replication.py
bench-durable: ## durable mode: what it costs, a directory, promotion, undelete, beside DRBD; result in build/bench/durable.json
	@deploy/dependencies build bench
	@$(MAKE) all
	@status=0; /usr/bin/python3 tests/bench/durable.py || status=$$?; \
	if deploy/dependencies vm; then /usr/bin/python3 tests/bench/drbd.py || status=$$?; \
	else echo "not measured beside DRBD: there is no QEMU here (deploy/dependencies vm)"; fi; exit $$status
dependencies: ## installs the Debian packages needed for all of it
	@deploy/dependencies

# --- checks ---
C_FILES := $(ALL_SRC) $(FUZZ_SRC) $(ALL_HDR)
SCRIPTS := .ci/run deploy/dependencies tests/vm/vms/guest/init
PYTHON_TOOLS := layers shape docs run-tests
CLANG_FLAGS = -std=gnu17 -D_GNU_SOURCE -DMAILTWIN_FAULTS -I. $(WARN) $(WARN_llvm) $(PKG_CFLAGS) \
	$(if $(filter plugin/%,$<),$(DOVECOT_CFLAGS))

.PHONY: $(CHECKS) layers tidy format
check-tools: ## the checks go red when they should
	@$(foreach tool,$(PYTHON_TOOLS),tests/tools/$(tool) --self-test &&) true
check-layers layers: ## includes point downward, cores and lib/base do no I/O
	@tests/tools/layers
check-shape: ## functions and files stay short
	@tests/tools/shape
check-docs: ## links, runbooks and the commands they name
	@tests/tools/docs
# Manual pages, completion and the example come from the same tables as the programs' help.
.PHONY: generate
generate: $(B)/mailtwin ## writes manual pages, completion and the example configuration
	@mkdir -p docs/man deploy/completion
	@$(B)/mailtwin generate man docs/man
	@$(B)/mailtwin generate completion deploy/completion
	@$(B)/mailtwin generate conf deploy
check-generated: $(B)/mailtwin
	@mkdir -p build/generated/man build/generated/completion
	@$(B)/mailtwin generate man build/generated/man
	@$(B)/mailtwin generate completion build/generated/completion
	@$(B)/mailtwin generate conf build/generated
	@diff -ru docs/man build/generated/man
	@diff -u deploy/completion/mailtwin.bash build/generated/completion/mailtwin.bash
	@diff -u deploy/mailtwin.conf.example build/generated/mailtwin.conf.example
	@mandoc -T lint -W warning docs/man/* lib/barrier/*.3
check-shell:
	@shellcheck $(SCRIPTS)
check-format:
	@clang-format-14 --dry-run -Werror $(C_FILES)
format: ## clang-format over all C files
	@clang-format-14 -i $(C_FILES)

# Suppressions are written where they apply, with their reason; these hold everywhere:
#   missingIncludeSystem   the libraries' headers are not analysed
#   memleakOnRealloc, nullPointerRedundantCheck
#                          of tests, which may end with their memory and compare with NULL
#   uninitvar              does not see what put_le*() write; gcc and clang do, and look too
#   -DMAILTWIN_EVENT_H     cppcheck 2.10 does not know __VA_OPT__: event() is a function to it
check-cppcheck:
	@mkdir -p build/cppcheck
	@cppcheck -q -j2 --enable=warning,performance,portability --inline-suppr --std=c11 -I. \
		-D_GNU_SOURCE -DMAILTWIN_EVENT_H --cppcheck-build-dir=build/cppcheck --error-exitcode=1 \
		--suppress=missingIncludeSystem --suppress=uninitvar \
		--suppress='memleakOnRealloc:tests/*' --suppress='nullPointerRedundantCheck:tests/*' \
		--template=gcc $(ALL_SRC) $(FUZZ_SRC)
check-analyzer:
	@$(MAKE) VARIANT=analyze objects

# A file is looked at again when it, a header of it or the settings changed. The variant is the one that
# `make test` has built already with clang's warnings.
define run_tidy
	@mkdir -p $(@D)
	@echo "  TIDY    $<"
	@clang-tidy-14 -quiet $(1) $< -- $(CLANG_FLAGS) $(SEEN_analyze) >$@.log 2>&1 || { cat $@.log; exit 1; }
	@touch $@
endef
build/tidy/%.ok: %.c build/asan/%.o .clang-tidy tests/tools/analyzer.h
	$(call run_tidy,-checks='-clang-analyzer-*')
build/clang-analyzer/%.ok: %.c build/asan/%.o .clang-tidy tests/tools/analyzer.h
	$(call run_tidy)
check-tidy tidy: ## clang-tidy, without clang's static analyser
	@$(MAKE) VARIANT=asan $(patsubst %.c,build/tidy/%.ok,$(PRODUCT_SRC))
check-clang-analyzer: ## all of clang-tidy
	@$(MAKE) VARIANT=asan $(patsubst %.c,build/clang-analyzer/%.ok,$(PRODUCT_SRC))

.PHONY: cover
cover: ## lines and branches reached by the test programs, per folder
	@rm -f build/cover/*.counters build/cover/tests/*/*.counters
	@$(RUN_TESTS) programs:cover
	@tests/tools/cover build/cover

# systemd knows more about units than we do; it wants to see the program a unit starts.
check-units:
	@mkdir -p build/units
	@for unit in deploy/systemd/*.service; do \
		sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' $$unit >build/units/$${unit##*/}; done
	@! systemd-analyze verify --man=no build/units/*.service 2>&1 | grep mailtwin

# --- install: DESTDIR and PREFIX as everywhere ---
D = $(DESTDIR)$(PREFIX)
INSTALL_DATA := install -m 644 -D -t
RELOCATE = sed -i 's|/usr/sbin/|$(PREFIX)/sbin/|'
.PHONY: install clean help
install: all ## programs, units, manual pages, completion, runbooks: DESTDIR, PREFIX=/usr/local
	install -D -t $(D)/sbin $(PROGRAMS)
	install -d $(D)/bin
	ln -sf ../sbin/mailtwin $(D)/bin/mailtwin # runs the programs that lie beside it
	$(INSTALL_DATA) $(D)/lib $(BARRIER)
	ln -sf $(notdir $(BARRIER)) $(D)/lib/libmailtwin-barrier.so
	$(INSTALL_DATA) $(D)/include/mailtwin include/mailtwin/barrier.h
	$(INSTALL_DATA) $(D)/lib/pkgconfig deploy/pkgconfig/mailtwin-barrier.pc
	sed -i 's|^prefix=.*|prefix=$(PREFIX)|' $(D)/lib/pkgconfig/mailtwin-barrier.pc
	$(if $(PLUGIN),$(INSTALL_DATA) $(DESTDIR)$(DOVECOT_MODULES) $(PLUGIN))
	$(INSTALL_DATA) $(D)/share/doc/mailtwin/dovecot deploy/dovecot/90-mailtwin.conf
	$(INSTALL_DATA) $(D)/lib/systemd/system deploy/systemd/*.service
	$(RELOCATE) $(D)/lib/systemd/system/mailtwin-*.service
	$(INSTALL_DATA) $(D)/lib/sysusers.d deploy/sysusers.d/mailtwin.conf
	$(INSTALL_DATA) $(D)/lib/tmpfiles.d deploy/tmpfiles.d/mailtwin.conf
	$(INSTALL_DATA) $(D)/lib/sysctl.d deploy/sysctl.d/60-mailtwin.conf
	$(INSTALL_DATA) $(D)/share/doc/mailtwin README.md deploy/mailtwin.conf.example
	$(INSTALL_DATA) $(D)/share/doc/mailtwin/runbooks runbooks/*.md
	$(foreach n,1 5 8,$(INSTALL_DATA) $(D)/share/man/man$(n) docs/man/*.$(n);)
	$(INSTALL_DATA) $(D)/share/man/man3 lib/barrier/*.3
	install -m 644 -D deploy/completion/mailtwin.bash $(D)/share/bash-completion/completions/mailtwin

clean: ## removes everything built
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z][a-z -]*\):.*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r target what; do printf '  %-20s %s\n' "$$target" "$$what"; done
	@echo "Variants: make VARIANT=gcc|clang|asan|tsan|cover|fuzz; one test: build/gcc/tests/unit/X NAME"
