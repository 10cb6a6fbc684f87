/* train_options.c - training options: defaults, checks, and their JSON form.
 *
 * One table names every option; JSON, copying and ranges follow from it, so
 * a state saved by one build is read by the next.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/nearest.h"
#include "format/json.h"

#define MOST_HEAD_DIM 32u  /* of what is chosen here; the reference's is 8   */
#define FIT_PICTURES  500u /* whose distances are looked at                  */

enum option_kind { OPT_STRING, OPT_U32, OPT_U64, OPT_REAL, OPT_BOOL };

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
    double min, max;
};

#define FIELD(name) offsetof(struct unstir_train_options, name)
#define STRING(name)                         \
    {                                        \
#name, OPT_STRING, FIELD(name), 0, 0 \
    }
#define U32(name, min, max)                   \
    {                                         \
#name, OPT_U32, FIELD(name), min, max \
    }
#define U64(name, min, max)                   \
    {                                         \
#name, OPT_U64, FIELD(name), min, max \
    }
#define REAL(name, min, max)                   \
    {                                          \
#name, OPT_REAL, FIELD(name), min, max \
    }
#define BOOL(name)                         \
    {                                      \
#name, OPT_BOOL, FIELD(name), 0, 1 \
    }

static const struct option table[] = {
    STRING(data),
    STRING(output),
    STRING(objective),
    STRING(noise_schedule),
    STRING(isa),
    STRING(precision),
    STRING(lr_schedule),
    STRING(init),
    U32(n_timesteps, 2, 10000),
    REAL(sigma_min, 1e-5, 1e5),
    REAL(sigma_max, 0, 1e5),
    U32(size, 0, DATASET_MAX_EDGE),
    U32(n_levels, 0, 8),
    U32(layers, 1, 8),
    U32(attention_mask, 0, 255),
    U32(attention_head_dim, 0, 1024),
    U32(norm_groups, 1, 256),
    U32(batch, 1, 65536),
    U32(accumulate, 0, 65536),
    REAL(lr, 1e-9, 10),
    REAL(weight_decay, 0, 10),
    REAL(clip, 0, 1e9),
    REAL(ema, 0, 0.9999999),
    REAL(label_dropout, 0, 1),
    REAL(beta1, 0, 0.9999999),
    REAL(beta2, 0, 0.9999999),
    U32(warmup, 0, 1000000000),
    BOOL(flip),
    U64(steps, 0, 1e12),
    REAL(epochs, 0, 1e9),
    REAL(minutes, 0, 1e9),
    U64(seed, 0, 1.8446744073709552e19),
    BOOL(half),
    U32(max_pictures, 0, DATASET_MAX_PICTURES),
};

void unstir_train_defaults(struct unstir_train_options *o)
{
    memset(o, 0, sizeof *o);
    o->objective = "v";
    o->noise_schedule = "cosine";
    o->lr_schedule = "cosine";
    o->precision = "auto";
    o->n_timesteps = 1000;
    o->sigma_min = 0.01;
    o->layers = 1;
    o->norm_groups = 8;
    o->batch = 64;
    o->lr = 1e-3;
    o->weight_decay = 0.01;
    o->clip = 1;
    o->ema = 0.999;
    o->label_dropout = 0.1;
    o->beta1 = 0.9;
    o->beta2 = 0.99;
    o->warmup = 200;
    o->half = true;
}

static void *at(struct unstir_train_options *o, const struct option *opt)
{
    return (char *)o + opt->offset;
}

static const void *at_const(const struct unstir_train_options *o,
                            const struct option *opt)
{
    return (const char *)o + opt->offset;
}

/* -- strings ------------------------------------------------------------- */

enum unstir_status train_options_copy(struct unstir_train_options *to,
                                      const struct unstir_train_options *from,
                                      struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;
    *to = *from;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].kind != OPT_STRING)
            continue;
        const char *const *src = at_const(from, &table[i]);
        char **dst = at(to, &table[i]);
        *dst = NULL;
        if (*src && status == UNSTIR_OK)
            status = alloc_strdup(dst, *src, err);
    }
    if (status != UNSTIR_OK)
        train_options_fini(to);
    return status;
}

void train_options_fini(struct unstir_train_options *o)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].kind == OPT_STRING) {
            char **s = at(o, &table[i]);
            alloc_free(*s);
            *s = NULL;
        }
}

/* -- JSON ---------------------------------------------------------------- */

enum unstir_status train_options_write(char **text,
                                       const struct unstir_train_options *o,
                                       struct unstir_error *err)
{
    struct json_writer *w;
    *text = NULL;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct option *opt = &table[i];
        const void *p = at_const(o, opt);
        switch (opt->kind) {
        case OPT_STRING:
            if (*(const char *const *)p)
                json_put_string(w, opt->name, *(const char *const *)p);
            break;
        case OPT_U32:
            json_put_int(w, opt->name, *(const uint32_t *)p);
            break;
        case OPT_U64: {
            /* As text: whole 64 bits, whatever a reader makes of numbers. */
            char digits[32];
            snprintf(digits, sizeof digits, "%llu",
                     (unsigned long long)*(const uint64_t *)p);
            json_put_string(w, opt->name, digits);
            break;
        }
        case OPT_REAL:
            json_put_real(w, opt->name, *(const double *)p);
            break;
        case OPT_BOOL:
            json_put_bool(w, opt->name, *(const bool *)p);
            break;
        }
    }
    json_open_array(w, "channels");
    for (uint32_t i = 0; i < o->n_levels; i++)
        json_put_int(w, NULL, o->channels[i]);
    json_close(w);
    json_close(w);
    return json_finish(text, w, false, err);
}

static bool parse_u64(uint64_t *out, const char *text)
{
    uint64_t v = 0;
    if (!text[0])
        return false;
    for (; *text; text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

static enum unstir_status read_one(struct unstir_train_options *o,
                                   const struct option *opt,
                                   const struct json *root,
                                   struct unstir_error *err)
{
    void *p = at(o, opt);
    const char *s;
    int64_t i;
    switch (opt->kind) {
    case OPT_STRING:
        TRY(json_get_string(root, opt->name, *(const char **)p, &s, err));
        *(const char **)p = s;
        return UNSTIR_OK;
    case OPT_U32:
        TRY(json_get_int(root, opt->name, *(uint32_t *)p, (int64_t)opt->min,
                         (int64_t)opt->max, &i, err));
        *(uint32_t *)p = (uint32_t)i;
        return UNSTIR_OK;
    case OPT_U64:
        TRY(json_get_string(root, opt->name, "0", &s, err));
        if (!parse_u64(p, s))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%s: \"%s\" is not a whole number", opt->name, s);
        return UNSTIR_OK;
    case OPT_REAL:
        return json_get_real(root, opt->name, *(double *)p, p, err);
    case OPT_BOOL:
        return json_get_bool(root, opt->name, *(bool *)p, p, err);
    }
    return UNSTIR_OK;
}

static enum unstir_status read_channels(struct unstir_train_options *o,
                                        const struct json *root,
                                        struct unstir_error *err)
{
    const struct json *list = json_get(root, "channels");
    if (json_len(list) != o->n_levels)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "channels: %zu numbers for %u levels", json_len(list),
                         o->n_levels);
    for (uint32_t i = 0; i < o->n_levels; i++) {
        int64_t c = json_int(json_at(list, i));
        if (c < 1 || c > 65536)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "channels: entry %u must be 1..65536", i);
        o->channels[i] = (uint32_t)c;
    }
    return UNSTIR_OK;
}

enum unstir_status train_options_read(struct unstir_train_options *o,
                                      const char *text,
                                      struct unstir_error *err)
{
    struct unstir_train_options read;
    struct json *root;
    memset(o, 0, sizeof *o);
    unstir_train_defaults(&read);
    TRY(json_parse(&root, text, strlen(text), err));
    enum unstir_status status = UNSTIR_OK;
    for (size_t i = 0; status == UNSTIR_OK && i < ARRAY_LEN(table); i++)
        status = read_one(&read, &table[i], root, err);
    if (status == UNSTIR_OK)
        status = read_channels(&read, root, err);
    if (status == UNSTIR_OK) /* strings are borrowed from root until here */
        status = train_options_copy(o, &read, err);
    json_free(root);
    return status;
}

/* -- checks -------------------------------------------------------------- */

static enum unstir_status check_name(const char *field, const char *value,
                                     const char *const *names, size_t n,
                                     struct unstir_error *err)
{
    for (size_t i = 0; value && i < n; i++)
        if (strcmp(value, names[i]) == 0)
            return UNSTIR_OK;
    int near = value ? nearest_word(value, names, n) : -1;
    char all[160] = "";
    for (size_t i = 0, at_byte = 0; i < n && at_byte < sizeof all; i++)
        at_byte += (size_t)snprintf(all + at_byte, sizeof all - at_byte, "%s%s",
                                    i ? ", " : "", names[i]);
    if (near >= 0)
        return error_field(err, field, "\"%s\": unknown; did you mean %s?",
                           value, names[near]);
    return error_field(err, field, "\"%s\": must be one of %s",
                       value ? value : "", all);
}

static enum unstir_status check_ranges(const struct unstir_train_options *o,
                                       struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct option *opt = &table[i];
        const void *p = at_const(o, opt);
        double v = opt->kind == OPT_U32    ? *(const uint32_t *)p
                   : opt->kind == OPT_REAL ? *(const double *)p
                                           : opt->min;
        if (!(v >= opt->min && v <= opt->max))
            return error_field(err, opt->name, "%g: must be %g..%g", v,
                               opt->min, opt->max);
    }
    for (uint32_t i = 0; i < o->n_levels; i++)
        if (o->channels[i] < 1 || o->channels[i] > 4096 ||
            o->channels[i] % o->norm_groups)
            return error_field(err, "channels",
                               "level %u has %u: must be 1..4096 and a "
                               "multiple of the %u norm groups",
                               i, o->channels[i], o->norm_groups);
    return UNSTIR_OK;
}

enum unstir_status train_options_check(struct unstir_train_options *o,
                                       struct unstir_error *err)
{
    static const char *const noise[] = {"linear", "cosine", "scaled-linear"};
    static const char *const rates[] = {"cosine", "constant"};
    static const char *const precisions[] = {"auto", "f32", "bf16"};
    if (!o->data)
        return error_field(err, "data",
                           "a folder of pictures or a named set "
                           "is needed");
    if (!o->output)
        return error_field(err, "output", "a folder for the model is needed");
    TRY(check_name("objective", o->objective, objective_names, OBJECTIVE_COUNT,
                   err));
    TRY(check_name("noise_schedule", o->noise_schedule, noise, ARRAY_LEN(noise),
                   err));
    TRY(check_name("lr_schedule", o->lr_schedule, rates, ARRAY_LEN(rates),
                   err));
    TRY(check_name("precision", o->precision, precisions, ARRAY_LEN(precisions),
                   err));
    TRY(check_ranges(o, err));
    if (o->sigma_max > 0 && o->sigma_max <= o->sigma_min)
        return error_field(err, "sigma_max", "%g: must be above sigma_min, %g",
                           o->sigma_max, o->sigma_min);
    int n_spans = (o->steps > 0) + (o->epochs > 0) + (o->minutes > 0);
    if (n_spans != 1)
        return error_field(err, "steps",
                           "one of steps, epochs and minutes says how long to "
                           "train; %s given",
                           n_spans ? "more than one is" : "none is");
    if (o->accumulate && o->batch % o->accumulate)
        return error_field(err, "accumulate", "%u: must divide the batch of %u",
                           o->accumulate, o->batch);
    return UNSTIR_OK;
}

/* Micro-batches as big as the second-level caches like them, and one for
 * each of few threads: 16 pictures, more of tiny ones, or the next divisor
 * below. */
static void apply_batch_rule(struct unstir_train_options *o,
                             const struct dataset *d)
{
    uint32_t micro = 1024 / (d->width * d->height);
    micro = micro > o->batch / 4 ? o->batch / 4 : micro;
    micro = micro < 16 ? 16 : micro;
    micro = micro < o->batch ? micro : o->batch;
    while (o->batch % micro)
        micro--;
    o->accumulate = o->batch / micro;
}

/* The largest distance between two of the first pictures, in units of 0..1:
 * with that much noise each may become any other (technique 1 of Song and
 * Ermon, arXiv:2006.09011). */
static double largest_distance(const struct dataset *d)
{
    size_t m = (size_t)d->width * d->height * d->channels;
    uint32_t n = d->n < FIT_PICTURES ? d->n : FIT_PICTURES;
    uint64_t most = 1;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++) {
            const uint8_t *a = d->pixels + i * m, *b = d->pixels + j * m;
            uint64_t sum = 0;
            for (size_t k = 0; k < m; k++) {
                int by = a[k] - b[k];
                sum += (uint64_t)(by * by);
            }
            most = sum > most ? sum : most;
        }
    return sqrt((double)most) / 255;
}

/* Levels of a network for pictures of that size. */
static void fit_levels(struct unstir_train_options *o, const struct dataset *d)
{
    /* Halve while the edge stays at 7 pixels or more; attention at the
     * coarsest level, where a picture is few tokens. */
    static const uint32_t widths[] = {32, 64, 96, 128, 160, 192, 256, 256};
    uint32_t edge = d->width < d->height ? d->width : d->height;
    if (edge == 1) { /* points and rows: one wide level */
        o->n_levels = 1;
        o->channels[0] = 64;
        return;
    }
    do {
        o->channels[o->n_levels] = widths[o->n_levels];
        o->n_levels++;
        edge = (edge + 1) / 2;
    } while (edge >= 7 && o->n_levels < 6);
    o->attention_mask = 1u << (o->n_levels - 1);
}

/* A head has no more channels than a level that attends; the coarsest does, in
 * the middle of the network. */
static uint32_t head_dim(const struct unstir_train_options *o)
{
    uint32_t dim = MOST_HEAD_DIM;
    for (uint32_t i = 0; i < o->n_levels; i++)
        if ((o->attention_mask >> i & 1 || i + 1 == o->n_levels) &&
            o->channels[i] < dim)
            dim = o->channels[i];
    return dim;
}

void train_options_fit(struct unstir_train_options *o, const struct dataset *d)
{
    if (o->sigma_max <= 0 && strcmp(o->objective, "score") == 0) {
        double most = largest_distance(d);
        o->sigma_max = most > 2 * o->sigma_min ? most : 2 * o->sigma_min;
    }
    if (o->accumulate == 0)
        apply_batch_rule(o, d);
    if (o->n_levels == 0)
        fit_levels(o, d);
    if (o->attention_head_dim == 0)
        o->attention_head_dim = head_dim(o);
}
