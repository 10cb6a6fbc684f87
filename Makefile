# Makefile - builds the library, the program and the tests.
#
#   make                        build/unstir, build/libunstir.a, .so
#   make check                  the tests of this build; last line N passed, N failed
#   make check FAMILIES="unit kern/t_gemm*" JOBS=4    some of them, four at a time
#   make lint                   layering, names, banned calls, headers, format
#   make fuzz FUZZ_SECONDS=600  hostile bytes into every parser (needs clang);
#                               FUZZ="lora json" for some of them
#   make bench                  speed: kernels, evaluations, HTTP under load
#   make install PREFIX=/usr/local DESTDIR=     make uninstall takes it away
#   make format, make clean     clang-format on every file; remove $(BUILD)
#   make help                   this text
#   SAN=address,undefined or SAN=thread: the same in build/san-<name>/
#   BUILD=dir, CC=clang, DEBUG=1 as expected
#
# A new .c file in a folder below is picked up by itself; nothing is listed twice.

PREFIX ?= /usr/local
DESTDIR ?=
SAN ?=
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))

comma := ,
BUILD ?= build$(if $(SAN),/san-$(firstword $(subst $(comma), ,$(SAN))))
EMULATED := $(firstword $(subst /san-, ,$(BUILD)))/emulated

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wstrict-prototypes \
        -Wmissing-prototypes -Wundef -Wno-unused-parameter
OPT := $(if $(DEBUG),-O0 -g,$(if $(SAN),-O1 -g -fno-omit-frame-pointer,-O2 -g))
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
BASE_CFLAGS := -std=c11 -ffp-contract=off -D_GNU_SOURCE $(WARN) $(OPT) $(SANFLAGS) \
               -fPIC -pthread -MMD -MP -Iinclude
PKG_CFLAGS := $(shell pkg-config --cflags jansson 2>/dev/null)
SERVER_PKGS := libmicrohttpd libuv jansson
SERVER_CFLAGS := $(shell pkg-config --cflags $(SERVER_PKGS) 2>/dev/null)
SERVER_LIBS := $(shell pkg-config --libs $(SERVER_PKGS) 2>/dev/null)

# OpenBLAS in its serial build: its thread count is process-wide, ours is not.
MULTIARCH := $(shell $(CC) -print-multiarch)
BLAS_DIR := $(firstword $(wildcard /usr/lib/$(MULTIARCH)/openblas-serial))
BLAS_LIBS := $(if $(BLAS_DIR),$(BLAS_DIR)/libopenblas.so.0,-lopenblas)
BLAS_CFLAGS := $(if $(wildcard /usr/include/$(MULTIARCH)/openblas-serial),-I/usr/include/$(MULTIARCH)/openblas-serial)
ENGINE_LIBS := $(BLAS_LIBS) -ljansson -lnettle -lutf8proc -lpng -lturbojpeg -lwebpmux -lwebp -lz -lm -lpthread

ENGINE_SRC := $(wildcard engine/*.c engine/*/*.c engine/kernels/*/*.c)
ifeq ($(filter x86_64%,$(MULTIARCH)),)
ENGINE_SRC := $(filter-out engine/kernels/avx%,$(ENGINE_SRC))
endif
SERVER_SRC := $(wildcard server/*.c)
CLI_SRC := $(wildcard cli/*.c)
TEST_SRC := $(wildcard tests/unit/t_*.c tests/kern/t_*.c tests/golden/t_*.c)
SERVER_TEST_SRC := $(wildcard tests/server/t_*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
TEST_LIB_SRC := $(wildcard tests/support/*.c) $(FUZZ_SRC)
SERVER_FUZZ_SRC := $(wildcard tests/fuzz/server/fuzz_*.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
ENGINE_OBJ := $(call obj,$(ENGINE_SRC))
SERVER_OBJ := $(call obj,$(SERVER_SRC)) $(BUILD)/obj/server/page_data.o
CLI_OBJ := $(call obj,$(CLI_SRC))
# The rungs that few CPUs have, from the same source with emulated intrinsics.
HAVE_SIMDE := $(if $(filter x86_64%,$(MULTIARCH)),$(wildcard /usr/include/simde/x86/avx512.h))
# One copy for all builds, sanitized ones too: see their rule.
EMULATED_OBJ := $(if $(HAVE_SIMDE),$(patsubst engine/%.c,$(EMULATED)/%.o,$(wildcard engine/kernels/avx512*/*.c)))
TEST_LIB_OBJ := $(call obj,$(TEST_LIB_SRC)) $(EMULATED_OBJ)
TESTS := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC))
SERVER_TESTS := $(patsubst %.c,$(BUILD)/%,$(SERVER_TEST_SRC))
# Clients that the scripts of tests/http and tests/bench drive.
CLIENT_SRC := $(wildcard tests/http/*.c)
CLIENTS := $(if $(CLIENT_SRC),$(BUILD)/tests/http/rawclient)
BENCH_CLIENTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SRC))
SERVER_FUZZ_OBJ := $(call obj,$(SERVER_FUZZ_SRC))
SERVER_FUZZERS := $(patsubst tests/fuzz/server/%.c,$(BUILD)/tests/fuzz/%,$(SERVER_FUZZ_SRC))

.PHONY: all check check-bins bench bench-clients fuzz fuzzers lint install uninstall clean format help
.DELETE_ON_ERROR:
all: $(BUILD)/unstir $(BUILD)/libunstir.a $(BUILD)/libunstir.so

# -- flags by folder: the only place where an instruction set is named ------
KERNEL_OPT := -O3
$(BUILD)/obj/engine/%.o: CFLAGS_DIR = -Iengine -fvisibility=hidden $(PKG_CFLAGS) $(BLAS_CFLAGS)
$(BUILD)/obj/engine/kernels/%.o: CFLAGS_DIR = -Iengine -fvisibility=hidden $(KERNEL_OPT)
$(BUILD)/obj/engine/kernels/avx2/%.o: CFLAGS_DIR = -Iengine -fvisibility=hidden $(KERNEL_OPT) -mavx2 -mfma -mf16c
$(BUILD)/obj/engine/kernels/avx512vnni/%.o: CFLAGS_DIR = -Iengine -fvisibility=hidden $(KERNEL_OPT) -mavx2 -mfma -mf16c \
    -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mprefer-vector-width=512
$(BUILD)/obj/engine/kernels/avx512bf16/%.o: CFLAGS_DIR = -Iengine -fvisibility=hidden $(KERNEL_OPT) -mavx2 -mfma -mf16c \
    -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mprefer-vector-width=512
$(BUILD)/obj/server/%.o: CFLAGS_DIR = -Iserver $(SERVER_CFLAGS)
$(BUILD)/obj/cli/%.o: CFLAGS_DIR = -Iserver -Icli
$(BUILD)/obj/tests/%.o: CFLAGS_DIR = -Iengine -Itests/support -Itests/fuzz -Wno-pedantic $(PKG_CFLAGS)
$(BUILD)/obj/tests/support/tables.o: CFLAGS_DIR = -Iengine -Itests/support $(if $(HAVE_SIMDE),-DHAVE_EMULATED_AVX512)
$(BUILD)/obj/tests/server/%.o: CFLAGS_DIR = -Iserver -Itests/support -Itests/fuzz -Itests/fuzz/server -Wno-pedantic $(SERVER_CFLAGS)
$(BUILD)/obj/tests/fuzz/server/%.o: CFLAGS_DIR = -Iserver -Itests/fuzz -Wno-pedantic

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) $(CFLAGS_DIR) $(CFLAGS) -c -o $@ $<

# Without sanitizers: instrumented, one file takes minutes to compile.  -O1: half
# the time of -O2, and the same sums.  Strays are found by the tests' own guards.
$(EMULATED)/%.o: engine/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(filter-out $(SANFLAGS) $(OPT),$(BASE_CFLAGS)) -O1 -Iengine -fvisibility=hidden -mavx2 -mfma -Wno-psabi -Wno-pedantic \
	    -DUNSTIR_EMULATE_AVX512 -include tests/support/emulate_avx512.h -c -o $@ $<

# The web page is embedded: bytes of server/page/* as C arrays.
PAGE_FILES := $(wildcard server/page/*)
$(BUILD)/page_data.c: tools/embed.sh $(PAGE_FILES)
	@mkdir -p $(@D)
	sh tools/embed.sh $(PAGE_FILES) > $@
$(BUILD)/obj/server/page_data.o: $(BUILD)/page_data.c
	@mkdir -p $(@D)
	$(CC) $(BASE_CFLAGS) -Iserver -c -o $@ $<

# -- library: only unstir_* leaves it ---------------------------------------
$(BUILD)/libunstir.o: $(ENGINE_OBJ)
	ld -r -o $@.tmp $(ENGINE_OBJ)
	objcopy --localize-hidden $@.tmp $@
	@rm -f $@.tmp
$(BUILD)/libunstir.a: $(BUILD)/libunstir.o
	@rm -f $@
	ar rcs $@ $<
$(BUILD)/libunstir.so: $(ENGINE_OBJ)
	$(CC) -shared $(SANFLAGS) -Wl,-soname,libunstir.so.0 -o $@ $(ENGINE_OBJ) $(ENGINE_LIBS)

$(BUILD)/unstir: $(CLI_OBJ) $(SERVER_OBJ) $(BUILD)/libunstir.a
	$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $(CLI_OBJ) $(SERVER_OBJ) $(BUILD)/libunstir.a \
	    $(SERVER_LIBS) $(ENGINE_LIBS)

# -- tests: linked with the engine's objects, inner names included.  Thin
#    archives: a program is linked with what it uses, in half the time.
$(BUILD)/tests/support.a: $(TEST_LIB_OBJ)
$(BUILD)/tests/engine.a: $(ENGINE_OBJ)
$(BUILD)/tests/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	ar qcsT $@ $^
$(TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(BUILD)/tests/support.a $(BUILD)/tests/engine.a
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ -lcmocka $(ENGINE_LIBS)
$(SERVER_TESTS): $(BUILD)/%: $(BUILD)/obj/%.o $(SERVER_FUZZ_OBJ) $(SERVER_OBJ) $(BUILD)/libunstir.a
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) $(TEST_LINK) -o $@ $< $(SERVER_FUZZ_OBJ) $(SERVER_OBJ) $(BUILD)/libunstir.a -lcmocka \
	    $(SERVER_LIBS) $(ENGINE_LIBS)

$(BUILD)/tests/server/t_held: TEST_LINK = -Wl,--wrap=jdoc_parse,--wrap=unstir_model_derive_cancelable

$(BUILD)/tests/http/rawclient: $(call obj,$(CLIENT_SRC))
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^

$(BENCH_CLIENTS): $(BUILD)/%: $(BUILD)/obj/%.o
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^

# What the families need: "unit", or some of its programs: "unit/t_base*".
FAMILIES ?= unit kern golden server http cli
WANTED := $(foreach f,$(FAMILIES),$(BUILD)/tests/$(if $(findstring /,$(f)),$(subst *,%,$(f)),$(f)/%))
check-bins: $(BUILD)/unstir $(filter $(WANTED),$(TESTS) $(SERVER_TESTS)) \
    $(if $(filter http http/%,$(FAMILIES)),$(CLIENTS)) \
    $(if $(filter python python/%,$(FAMILIES)),$(BUILD)/tests/golden/t_families)
check: check-bins
	BUILD=$(BUILD) SAN=$(SAN) sh tests/run.sh $(FAMILIES)

# All fuzzers within FUZZ_SECONDS, with clang's libFuzzer, ASan and UBSan.  No
# input steers a kernel, and clang takes 43 s for one of them when each branch
# is counted at -O3, so kernels are built plainly and without counters.
FUZZ_SECONDS ?= 600
FUZZ ?=
FUZZ_SAN := address,undefined
fuzz:
	$(MAKE) -s CC=clang BUILD=build/fuzz SAN=fuzzer-no-link,$(FUZZ_SAN) \
	    KERNEL_OPT="-O1 -fno-sanitize=fuzzer-no-link" CFLAGS=-DUNSTIR_FUZZ fuzzers
	sh tests/fuzz/run.sh build/fuzz $(FUZZ_SECONDS) $(FUZZ)
fuzzers: $(if $(FUZZ),$(FUZZ:%=$(BUILD)/tests/fuzz/fuzz_%),$(FUZZERS) $(SERVER_FUZZERS))
$(SERVER_FUZZERS): $(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/server/%.o $(SERVER_OBJ) $(BUILD)/libunstir.a
	@mkdir -p $(@D)
	$(CC) -fsanitize=fuzzer,$(FUZZ_SAN) -o $@ $< $(SERVER_OBJ) $(BUILD)/libunstir.a \
	    $(SERVER_LIBS) $(ENGINE_LIBS)
$(FUZZERS): $(BUILD)/%: $(BUILD)/obj/%.o $(ENGINE_OBJ)
	@mkdir -p $(@D)
	$(CC) -fsanitize=fuzzer,$(FUZZ_SAN) -o $@ $< $(ENGINE_OBJ) $(ENGINE_LIBS)

bench-clients: all $(BENCH_CLIENTS)

bench: bench-clients
	BUILD=$(BUILD) sh tests/bench/run.sh

lint:
	sh tests/lint/run.sh

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

INSTALL = BUILD='$(BUILD)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' sh deploy/install.sh
install: all
	$(INSTALL) install

uninstall:
	$(INSTALL) uninstall

help:
	@sed -n '/^$$/q;s/^# \{0,1\}//p' Makefile

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj $(EMULATED) -name '*.d' 2>/dev/null)
