# mailtwin: build, checks and tests. `make help` lists the targets.
# Variants are build folders: build/gcc (default), clang, asan, tsan, cover, fuzz: make VARIANT=asan

VARIANT ?= gcc
B       := build/$(VARIANT)

CC_gcc := gcc
CC_clang := clang-14
CC_asan := clang-14
CC_tsan := clang-14
CC_cover := gcc
CC_fuzz := clang-14
CC := $(CC_$(VARIANT))

WARN := -Wall -Wextra -Wconversion -Wsign-conversion -Wcast-qual -Wshadow -Wundef -Wvla \
	-Wwrite-strings -Wpointer-arith -Wredundant-decls -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wnull-dereference -Wimplicit-fallthrough -Wfloat-equal -Wdate-time
WARN_gnu := -Wformat-signedness -Wformat-overflow=2 -Wduplicated-cond -Wduplicated-branches \
	-Wlogical-op -Wjump-misses-init -Wcast-align=strict
WARN_llvm := -Wmissing-variable-declarations -Wcomma -Wthread-safety
WARN_gcc := $(WARN_gnu)
WARN_cover := $(WARN_gnu)
WARN_clang := $(WARN_llvm)
WARN_asan := $(WARN_llvm)
WARN_tsan := $(WARN_llvm)
WARN_fuzz := $(WARN_llvm)
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
MODE_gcc := -O2 -D_FORTIFY_SOURCE=3 -ftrivial-auto-var-init=zero
MODE_clang := -O2 -D_FORTIFY_SOURCE=2
MODE_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DMAILTWIN_FAULTS
MODE_tsan := -O1 -fsanitize=thread -DMAILTWIN_FAULTS
MODE_cover := -O0 --coverage -DMAILTWIN_FAULTS
MODE_fuzz := -O1 -fsanitize=address,undefined,fuzzer-no-link -fno-omit-frame-pointer
# Warnings stop the build where developers and CI build; a tarball (no .git) builds on any compiler.
WERROR := $(if $(wildcard .git),-Werror)

PKGS := libuv lmdb openssl libzstd libconfuse jansson libseccomp libcap-ng libisal libsystemd
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lrsync -lpthread

CFLAGS ?= -g
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -I. -I$(B)/gen $(CFLAGS) $(WARN) $(WARN_$(VARIANT)) $(WERROR) $(HARDEN) \
	$(MODE_$(VARIANT)) $(PKG_CFLAGS) -MMD -MP
ALL_LDFLAGS = $(LDFLAGS) $(MODE_$(VARIANT)) -pie -Wl,-z,relro,-z,now

LIB_SRC  := $(wildcard lib/*/*.c)
REPL_SRC := $(wildcard replicator/*.c) $(wildcard replicator/*/*.c)
CLI_SRC  := $(wildcard cli/*.c)
TEST_SRC := $(wildcard tests/unit/*.c) $(wildcard tests/sim/*.c) $(wildcard tests/faults/*.c) $(wildcard tests/golden/*.c)
obj = $(patsubst %.c,$(B)/%.o,$(1))

PROGRAMS := $(B)/mailtwin $(B)/mailtwin-replicatord

.PHONY: all
all: $(PROGRAMS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $@"
	@$(CC) $(ALL_CFLAGS) -c $< -o $@

$(B)/libmailtwin.a: $(call obj,$(LIB_SRC))
	@echo "  AR      $@"
	@rm -f $@ && ar rcs $@ $^

$(B)/mailtwin: $(call obj,$(CLI_SRC)) $(B)/libmailtwin.a
	@echo "  LD      $@"
	@$(CC) $(ALL_LDFLAGS) $(call obj,$(CLI_SRC)) $(B)/libmailtwin.a $(LIBS) -o $@

$(B)/mailtwin-replicatord: $(call obj,$(REPL_SRC)) $(B)/libmailtwin.a
	@echo "  LD      $@"
	@$(CC) $(ALL_LDFLAGS) $(call obj,$(REPL_SRC)) $(B)/libmailtwin.a $(LIBS) -o $@

-include $(shell find build/$(VARIANT) -name '*.d' 2>/dev/null)

# --- unit, golden, simulation and fault tests: each tests/*/X.c is one program ---
TEST_MAIN  := $(B)/tests/unit/test.o
TEST_PROGS := $(patsubst %.c,$(B)/%,$(filter-out tests/unit/test.c,$(TEST_SRC)))
# What programs share with tests: all their objects but main.
REPL_OBJ_NOMAIN := $(filter-out $(B)/replicator/main.o,$(call obj,$(REPL_SRC)))
CLI_OBJ_NOMAIN  := $(filter-out $(B)/cli/main.o,$(call obj,$(CLI_SRC)))

$(B)/libreplicator.a: $(REPL_OBJ_NOMAIN)
	@rm -f $@ && ar rcs $@ $^

$(TEST_PROGS): $(B)/tests/%: $(B)/tests/%.o $(TEST_MAIN) $(B)/libreplicator.a $(B)/libmailtwin.a
	@echo "  LD      $@"
	@$(CC) $(ALL_LDFLAGS) $< $(TEST_MAIN) $(B)/libreplicator.a $(B)/libmailtwin.a $(LIBS) -lcmocka -o $@

.PHONY: test-programs
test-programs: $(TEST_PROGS)
.SECONDARY:
