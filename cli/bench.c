/* bench.c - `unstir bench`: how fast is this machine.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "opts_machine.h"
#include "opts_size.h"
#include "unstir_bench.h"

struct bench_values {
    struct opts_common common;
    const char *model, *isa, *precision, *pin, *pack_cache;
    uint32_t width, height, batch, threads, repeat, warmup;
    bool has_layers, has_profile;
};

#define FIELD(name) .offset = offsetof(struct bench_values, name)

static const char *const precisions[] = {"auto", "f32", "bf16", "int8", NULL};

static const struct opt options[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPT_TEXT,
     .meta = "PATH",
     .env = "UNSTIR_MODEL",
     .fallback = "models/fashion",
     FIELD(model),
     .help = "folder or file; without weights they are drawn from seed 0"},
    OPTS_SIZE,
    {.name = "batch",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = 4096,
     .fallback = "1, train: 128",
     FIELD(batch),
     .help = "pictures at once"},
    {.name = "repeat",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = 100000,
     .fallback = "10",
     FIELD(repeat),
     .help = "timed runs"},
    {.name = "warmup",
     .kind = OPT_U32,
     .meta = "N",
     .min = 0,
     .max = 100000,
     .fallback = "2",
     FIELD(warmup),
     .help = "runs before"},
    {.name = "layers",
     .kind = OPT_FLAG,
     FIELD(has_layers),
     .help = "eval: list the layers with algorithm, operands and bytes"},
    {.name = "profile",
     .kind = OPT_FLAG,
     FIELD(has_profile),
     .help = "eval, decode: time and share of the peak by kind of operation"},
    OPTS_MACHINE(NULL),
};

typedef enum unstir_status (*bench_fn)(const struct unstir_bench_options *,
                                       char **, struct unstir_error *);

static const struct {
    const char *name;
    bench_fn run;
    bool needs_model;
} whats[] = {
    {"attention", unstir_bench_attention, false},
    {"conv", unstir_bench_conv, false},
    {"decode", unstir_bench_decode, true},
    {"eval", unstir_bench_eval, true},
    {"kernels", unstir_bench_kernels, false},
    {"linear", unstir_bench_linear, false},
    {"machine", unstir_bench_machine, false},
    {"pool", unstir_bench_pool, false},
    {"shortcuts", unstir_bench_shortcuts, true},
    {"text", unstir_bench_text, true},
    {"train", unstir_bench_train, true},
};
#define N_WHATS (sizeof(whats) / sizeof(*whats))

static int find_what(const char *name)
{
    const char *names[N_WHATS];
    for (size_t i = 0; i < N_WHATS; i++) {
        names[i] = whats[i].name;
        if (strcmp(name, names[i]) == 0)
            return (int)i;
    }
    (void)opts_unknown_value("bench", name, names, N_WHATS);
    return -1;
}

/* A number as people want it: six digits unless it is whole. Returns its
 * length in the text. */
static size_t print_number(const char *text)
{
    size_t n = strspn(text, "+-.eE0123456789");
    if (strcspn(text, ".eE") < n)
        printf("%.6g", strtod(text, NULL));
    else
        printf("%.*s", (int)n, text);
    return n;
}

/* One character outside of strings. */
static void print_punctuation(char c, int *depth)
{
    switch (c) {
    case '{':
    case '[':
        if (++*depth > 2)
            fputs("\n  ", stdout);
        break;
    case '}':
    case ']':
        --*depth;
        break;
    case ',':
        if (*depth != 2)
            fputs(*depth > 2 ? "  " : "\n", stdout);
        break;
    case ':':
        fputs(*depth > 2 ? " " : ": ", stdout);
        break;
    default:
        putchar(c);
    }
}

/* JSON of one object for people: a member a line, each object of an inner
 * list a line. */
static void print_plainly(const char *json)
{
    int depth = 0;
    bool is_string = false;
    for (const char *p = json; *p && *p != '\n';) {
        if (*p == '"') {
            is_string = !is_string;
            p++;
        } else if (is_string) {
            p = cli_print_json_char(p);
        } else if (strchr("-0123456789", *p)) {
            p += print_number(p);
        } else {
            print_punctuation(*p++, &depth);
        }
    }
    putchar('\n');
}

static int bench_main(int argc, char **argv)
{
    struct bench_values v = {.repeat = 10, .warmup = 2};
    struct unstir_error err = {0};
    char *json;
    int rc = opts_parse(&command_bench, argc, argv, &v);
    if (rc != OPTS_GO_ON)
        return rc;
    int what = find_what(v.common.operands[0]);
    if (what < 0)
        return CLI_USAGE;
    if (v.batch == 0 && whats[what].run != unstir_bench_train)
        v.batch = 1;
    struct unstir_bench_options o = {.isa = v.isa,
                                     .pack_cache =
                                         v.pack_cache ? v.pack_cache : "auto",
                                     .width = v.width,
                                     .height = v.height,
                                     .batch = v.batch,
                                     .n_threads = v.threads,
                                     .pin = opts_pin(v.pin),
                                     .repeat = v.repeat,
                                     .has_layers = v.has_layers,
                                     .has_profile = v.has_profile,
                                     .warmup = v.warmup};
    rc = cli_find_model(&o.model, v.model);
    if (rc != CLI_OK)
        return rc;
    o.precision = opts_precision(v.precision);
    o.merges_path = cli_shared_file("clip-bpe/merges.txt");
    if (!o.model && whats[what].needs_model) {
        cli_error("no model: give -m PATH or set UNSTIR_MODEL");
        return CLI_USAGE;
    }
    if (whats[what].run(&o, &json, &err) != UNSTIR_OK)
        return cli_fail(&err);
    if (v.common.is_json)
        printf("%s%s", json, strchr(json, '\n') ? "" : "\n");
    else
        print_plainly(json);
    unstir_free(json);
    return CLI_OK;
}

const struct command command_bench = {
    .name = "bench",
    .summary = "how fast is this machine",
    .synopsis =
        "eval|decode|text|train|shortcuts|kernels|conv|linear|attention|pool|"
        "machine [options]",
    .text = "eval times one evaluation of a model's network, decode one "
            "picture from a latent, text its text encoders, train one "
            "optimiser step of it, shortcuts whole pictures with what "
            "DeepCache and a guidance interval gain and cost, kernels each "
            "kernel and shape, conv the "
            "3x3 convolutions of Stable Diffusion 1.5, linear its linear "
            "layers in each precision, attention its attention, pool what "
            "threads cost, machine the peaks that the shares refer to.",
    .examples = "unstir bench eval -m models/fashion --json\n"
                "unstir bench machine\n",
    .options = options,
    .n_options = sizeof(options) / sizeof(*options),
    .min_operands = 1,
    .max_operands = 1,
    .has_json = true,
    .main = bench_main,
};
