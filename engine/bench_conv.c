/* bench_conv.c - the 3x3 convolutions and the linear layers of Stable
 * Diffusion 1.5, forward.
 *
 * The weights of convolutions are read in place, from f16, as in that network.
 * GFLOP/s are those of the direct convolution, whatever algorithm runs, so
 * that figures of different algorithms compare.  Time is that of the process
 * on its CPUs, all threads together: on a shared machine a neighbour costs
 * caches then, but no time slices.  The least of several runs counts.  Linear
 * layers run in each precision by turns, so that figures of one row compare.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/pool.h"
#include "bench_rows.h"
#include "format/json.h"
#include "kernels/kernels.h"
#include "ops/choose.h"
#include "ops/conv2d.h"
#include "ops/conv2d_phases.h"
#include "ops/linear_int8.h"
#include "ops/weight_rows.h"
#include "tensor/dtype.h"
#include "unstir_bench.h"

#define DEFAULT_REPEAT 5U

/* Of one evaluation at 64x64; `up`: behind an upsampling of size / 2. */
static const struct row {
    uint32_t size, cin, cout;
    bool has_up;
} shapes[] = {
    {64, 320, 320, false},   {64, 640, 320, false},   {64, 960, 320, false},
    {32, 320, 640, false},   {32, 640, 640, false},   {32, 960, 640, false},
    {32, 1280, 640, false},  {32, 1920, 640, false},  {16, 640, 1280, false},
    {16, 1280, 1280, false}, {16, 1920, 1280, false}, {16, 2560, 1280, false},
    {8, 1280, 1280, false},  {8, 2560, 1280, false},  {64, 640, 640, true},
    {32, 1280, 1280, true},  {16, 1280, 1280, true},
};

struct conv_bench {
    struct kernel_table k;
    struct pool *pool;
    struct json_writer *json;
    unsigned repeat;
    clockid_t clock;
    /* of a row */
    struct conv2d_shape s;
    enum conv_way way;
    void *x, *y, *w, *scratch;
    size_t n_scratch;
    struct weight_piece piece;
    struct weight_rows rows;
};

static double now_s(const struct conv_bench *b)
{
    struct timespec t;

    (void)clock_gettime(b->clock, &t); /* cannot fail */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct conv2d_shape shape_of(const struct row *r)
{
    uint32_t from = r->has_up ? r->size / 2 : r->size;

    return (struct conv2d_shape){.n = 1,
                                 .h = from,
                                 .w = from,
                                 .c0 = r->cin,
                                 .up_h = r->size,
                                 .up_w = r->size,
                                 .cout = r->cout,
                                 .kh = 3,
                                 .kw = 3,
                                 .stride = 1,
                                 .pad_t = 1,
                                 .pad_l = 1,
                                 .oh = r->size,
                                 .ow = r->size};
}

static enum unstir_status floats(void **out, size_t n, struct unstir_error *err)
{
    float *p;

    TRY(alloc_aligned(out, n, sizeof(float), err));
    p = *out;
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i % 17) * 0.125F - 1.0F;
    return UNSTIR_OK;
}

/* As a file of f16 has them: a network of that size reads them there. */
static enum unstir_status rows_init(struct conv_bench *b, uint32_t cin,
                                    uint32_t cout, struct unstir_error *err)
{
    size_t n = (size_t)cin * cout * 9;
    uint16_t *half, values[17];

    TRY(alloc_aligned(&b->w, n, sizeof *half, err));
    half = b->w;
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        values[i] = dtype_to_f16((float)i * 0.125F - 1.0F);
    for (size_t i = 0; i < n; i++)
        half[i] = values[i % ARRAY_LEN(values)];
    b->piece = (struct weight_piece){half, DTYPE_F16, cout};
    b->rows = (struct weight_rows){.pieces = &b->piece,
                                   .n_pieces = 1,
                                   .cin = cin,
                                   .cout = cout,
                                   .kh = 3,
                                   .kw = 3,
                                   .phase = WEIGHT_WHOLE};
    return UNSTIR_OK;
}

static enum unstir_status row_init(struct conv_bench *b, const struct row *r,
                                   struct unstir_error *err)
{
    const struct conv2d_kind kind = {.is_plain = true, .has_rows = true};
    unsigned n_threads = pool_threads(b->pool);

    b->s = shape_of(r);
    b->way = choose_conv(&b->k, &b->s, r->has_up);
    TRY(floats(&b->x, (size_t)b->s.h * b->s.w * r->cin, err));
    TRY(floats(&b->y, (size_t)r->size * r->size * r->cout, err));
    TRY(rows_init(b, r->cin, r->cout, err));
    b->n_scratch = b->way == CONV_PHASES
                       ? conv2d_phases_scratch(&b->k, n_threads, &b->s, &kind)
                       : conv2d_scratch_of(&b->k, n_threads, &b->s, &kind);
    return alloc_aligned(&b->scratch, b->n_scratch, 1, err);
}

static void row_fini(struct conv_bench *b)
{
    void **all[] = {&b->x, &b->y, &b->w, &b->scratch};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        alloc_free(*all[i]);
        *all[i] = NULL;
    }
}

static double time_row(const struct conv_bench *b)
{
    struct op_ctx ctx = {&b->k, b->pool, b->scratch, b->n_scratch};
    struct conv2d_args a = {
        .s = b->s, .out_scale = 1, .x0 = b->x, .rows = &b->rows, .y = b->y};
    double best = 1e30;

    for (unsigned i = 0; i < b->repeat + 1; i++) { /* the first warms up */
        double start = now_s(b), t;

        if (b->way == CONV_PHASES)
            conv2d_phases_run(&ctx, &a);
        else
            conv2d_run(&ctx, &a);
        t = now_s(b) - start;
        if (i > 0 && t < best)
            best = t;
    }
    return best;
}

static void tell_row(const struct conv_bench *b, const struct row *r,
                     double best)
{
    double flop = 18.0 * r->size * r->size * (double)r->cin * r->cout;

    json_open_object(b->json, NULL);
    json_put_int(b->json, "size", r->size);
    json_put_int(b->json, "cin", r->cin);
    json_put_int(b->json, "cout", r->cout);
    json_put_bool(b->json, "upsampled", r->has_up);
    json_put_string(b->json, "algorithm", choose_name(&b->k, b->way));
    json_put_real(b->json, "cpu_ms", best * 1e3);
    json_put_real(b->json, "gflops", flop / best * 1e-9);
    json_close(b->json);
}

static enum unstir_status conv_all(struct conv_bench *b,
                                   struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        enum unstir_status status = row_init(b, &shapes[i], err);

        if (status == UNSTIR_OK)
            tell_row(b, &shapes[i], time_row(b));
        row_fini(b);
        TRY(status);
    }
    return UNSTIR_OK;
}

/* -- linear layers --------------------------------------------------------- */

/* Tokens, inputs, outputs at 64x64: projections, feed-forward, and the keys and
 * values of a text. */
static const struct linear {
    uint32_t m, k, n;
} linears[] = {
    {4096, 320, 320},  {4096, 320, 960},  {4096, 320, 2560},  {4096, 1280, 320},
    {1024, 640, 640},  {1024, 640, 1920}, {1024, 640, 5120},  {1024, 2560, 640},
    {256, 1280, 1280}, {256, 1280, 3840}, {256, 1280, 10240}, {256, 5120, 1280},
    {64, 1280, 1280},  {64, 1280, 10240}, {77, 768, 640},
};

/* One precision's way of a row. */
struct variant {
    struct kernel_table k;
    const char *key;
    void (*run)(const struct op_ctx *, const void *);
    void *packed, *scratch;
    size_t n_scratch;
    double best;
};
#define N_VARIANTS 3

static void variants_init(struct variant v[N_VARIANTS],
                          const struct kernel_table *k)
{
    static const char *const keys[N_VARIANTS] = {"f32", "bf16", "int8"};

    for (size_t i = 0; i < N_VARIANTS; i++)
        v[i] = (struct variant){.k = *k, .key = keys[i], .run = conv2d_run};
    kernels_use_exact_operands(&v[0].k, k);
    kernels_use_bf16_operands(&v[1].k);
    kernels_use_int8(&v[2].k);
    v[2].run = linear_int8_run;
}

static enum unstir_status variant_pack(struct variant *v,
                                       const struct conv_bench *b,
                                       struct unstir_error *err)
{
    uint32_t cin = b->s.c0, cout = b->s.cout;
    unsigned n_threads = pool_threads(b->pool);

    v->best = 1e30;
    if (v->run == conv2d_run) {
        v->n_scratch = conv2d_scratch(&v->k, n_threads, &b->s);
        TRY(alloc_aligned(&v->packed,
                          conv2d_packed_bytes(&v->k, cin, cout, 1, 1), 1, err));
        conv2d_pack(&v->k, v->packed, b->w, cin, cout, 1, 1);
    } else {
        v->n_scratch = linear_int8_scratch(&v->k, n_threads, &b->s);
        TRY(alloc_aligned(&v->packed,
                          linear_int8_packed_bytes(&v->k, cin, cout), 1, err));
        linear_int8_pack(&v->k, v->packed, b->w, cin, cout);
    }
    return alloc_aligned(&v->scratch, v->n_scratch, 1, err);
}

static void variants_time(struct variant v[N_VARIANTS],
                          const struct conv_bench *b)
{
    for (unsigned i = 0; i < (b->repeat + 1) * N_VARIANTS; i++) {
        struct variant *one = &v[i % N_VARIANTS];
        struct op_ctx ctx = {&one->k, b->pool, one->scratch, one->n_scratch};
        double start = now_s(b), t;

        one->run(&ctx, &(struct conv2d_args){.s = b->s,
                                             .out_scale = 1,
                                             .x0 = b->x,
                                             .w = one->packed,
                                             .y = b->y});
        t = now_s(b) - start;
        if (i >= N_VARIANTS && t < one->best) /* the first warms up */
            one->best = t;
    }
}

/* Time l in each precision: v[].best. */
static enum unstir_status linear_time(struct conv_bench *b,
                                      const struct linear *l,
                                      struct variant v[N_VARIANTS],
                                      struct unstir_error *err)
{
    variants_init(v, &b->k);
    b->s = (struct conv2d_shape){1, 1, l->m, l->k, 0, 1, l->m, l->n,
                                 1, 1, 1,    0,    0, 1, l->m};
    TRY(floats(&b->x, (size_t)l->m * l->k, err));
    TRY(floats(&b->y, (size_t)l->m * l->n, err));
    TRY(floats(&b->w, (size_t)l->n * l->k, err));
    for (size_t i = 0; i < N_VARIANTS; i++)
        TRY(variant_pack(&v[i], b, err));
    variants_time(v, b);
    return UNSTIR_OK;
}

static void linear_fini(struct conv_bench *b, struct variant v[N_VARIANTS])
{
    for (size_t i = 0; i < N_VARIANTS; i++) {
        alloc_free(v[i].packed);
        alloc_free(v[i].scratch);
    }
    row_fini(b);
}

static double linear_flop(const struct linear *l)
{
    return 2.0 * l->m * (double)l->k * l->n;
}

static void linear_tell(const struct conv_bench *b, const struct linear *l,
                        const struct variant v[N_VARIANTS])
{
    json_open_object(b->json, NULL);
    json_put_int(b->json, "rows", l->m);
    json_put_int(b->json, "cin", l->k);
    json_put_int(b->json, "cout", l->n);
    for (size_t i = 0; i < N_VARIANTS; i++) {
        char key[32];

        (void)snprintf(key, sizeof key, "%s_cpu_ms", v[i].key);
        json_put_real(b->json, key, v[i].best * 1e3);
    }
    json_put_real(b->json, "int8_gops", linear_flop(l) / v[2].best * 1e-9);
    json_put_real(b->json, "int8_over_f32", v[0].best / v[2].best);
    json_put_real(b->json, "int8_over_bf16", v[1].best / v[2].best);
    json_close(b->json);
}

static enum unstir_status linear_all(struct conv_bench *b,
                                     struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;

    for (size_t i = 0; status == UNSTIR_OK && i < ARRAY_LEN(linears); i++) {
        struct variant v[N_VARIANTS] = {0};

        status = linear_time(b, &linears[i], v, err);
        if (status == UNSTIR_OK)
            linear_tell(b, &linears[i], v);
        linear_fini(b, v);
    }
    return status;
}

/* A row a precision. */
static void linear_put(const struct bench_rows *to, const struct linear *l,
                       const struct variant v[N_VARIANTS])
{
    char shape[64];

    (void)snprintf(shape, sizeof shape, "%u rows %u->%u", l->m, l->k, l->n);
    for (size_t i = 0; i < N_VARIANTS; i++)
        bench_rows_put(to, "linear", shape, v[i].key, v[i].best,
                       linear_flop(l));
}

enum unstir_status bench_rows_linear(struct bench_rows *to,
                                     struct unstir_error *err)
{
    struct conv_bench b = {
        .k = to->k, .pool = to->pool, .repeat = to->repeat, .clock = to->clock};
    enum unstir_status status = UNSTIR_OK;

    for (size_t i = 0; status == UNSTIR_OK && i < ARRAY_LEN(linears); i++) {
        struct variant v[N_VARIANTS] = {0};

        status = linear_time(&b, &linears[i], v, err);
        if (status == UNSTIR_OK)
            linear_put(to, &linears[i], v);
        linear_fini(&b, v);
    }
    return status;
}

/* -- both ------------------------------------------------------------------ */

typedef enum unstir_status (*all_fn)(struct conv_bench *,
                                     struct unstir_error *);

static enum unstir_status bench_all(struct conv_bench *b, const char *what,
                                    const char *list, all_fn all,
                                    struct unstir_error *err)
{
    json_open_object(b->json, NULL);
    json_put_string(b->json, "what", what);
    json_put_string(b->json, "isa", b->k.isa);
    json_put_int(b->json, "threads", pool_threads(b->pool));
    json_open_array(b->json, list);
    TRY(all(b, err));
    json_close(b->json);
    json_close(b->json);
    return UNSTIR_OK;
}

static enum unstir_status bench_run(const struct unstir_bench_options *options,
                                    const char *what, const char *list,
                                    all_fn all, char **json,
                                    struct unstir_error *err)
{
    struct conv_bench b = {
        .repeat = options->repeat ? options->repeat : DEFAULT_REPEAT,
        .clock = CLOCK_PROCESS_CPUTIME_ID,
    };
    enum unstir_status status;

    *json = NULL;
    if (!kernels_select(&b.k, options->isa))
        return error_field(err, "isa",
                           "\"%s\" is unknown or this CPU cannot run it",
                           options->isa);
    if (options->precision == UNSTIR_PRECISION_BF16)
        kernels_use_bf16_operands(&b.k);
    TRY(pool_new(&b.pool, options->n_threads, 0, err));
    status = json_writer_new(&b.json, err);
    if (status == UNSTIR_OK)
        status = bench_all(&b, what, list, all, err);
    pool_free(b.pool);
    if (status == UNSTIR_OK)
        return json_finish(json, b.json, false, err);
    json_writer_free(b.json);
    return status;
}

enum unstir_status unstir_bench_conv(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err)
{
    return bench_run(options, "conv", "convolutions", conv_all, json, err);
}

enum unstir_status
unstir_bench_linear(const struct unstir_bench_options *options, char **json,
                    struct unstir_error *err)
{
    return bench_run(options, "linear", "layers", linear_all, json, err);
}
