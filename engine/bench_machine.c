/* bench_machine.c - the peaks that shares refer to: multiply-adds, memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "bench_rows.h"
#include "format/json.h"

#define MEMORY_BYTES ((size_t)64 << 20) /* beyond most last-level caches      */
#define MEMORY_PARTS 16u
#define PART_FLOATS  (MEMORY_BYTES / sizeof(float) / MEMORY_PARTS)

struct memory {
    const struct gemm_kernels *k;
    float *a, *b;
};

static void read_chunk(void *arg, size_t i, unsigned worker)
{
    struct memory *m = arg;
    float sums[32] = {0};

    (void)worker;
    m->k->add_rows(sums, m->a + i * PART_FLOATS, PART_FLOATS / 32, 32);
    m->b[i * 16] = sums[0]; /* a line of its own */
}

static void copy_chunk(void *arg, size_t i, unsigned worker)
{
    struct memory *m = arg;

    (void)worker;
    memcpy(m->b + i * PART_FLOATS, m->a + i * PART_FLOATS,
           PART_FLOATS * sizeof *m->a);
}

static void read_all(const struct bench_rows *b, void *memory)
{
    pool_run(b->pool, MEMORY_PARTS, read_chunk, memory);
}

static void copy_all(const struct bench_rows *b, void *memory)
{
    pool_run(b->pool, MEMORY_PARTS, copy_chunk, memory);
}

static double gb_s(const struct bench_rows *b, bench_rows_work_fn work,
                   struct memory *m)
{
    return (double)MEMORY_BYTES / bench_rows_best(b, work, m) * 1e-9;
}

static void tell(const struct bench_rows *b, struct memory *m)
{
    json_open_object(b->json, NULL);
    json_put_string(b->json, "what", "machine");
    json_put_string(b->json, "isa", b->k.isa);
    json_put_int(b->json, "threads", pool_threads(b->pool));
    json_put_real(b->json, "gflops_one_thread", bench_rows_burst(b, true));
    json_put_real(b->json, "gflops", bench_rows_burst(b, false));
    json_put_real(b->json, "read_gb_s", gb_s(b, read_all, m));
    json_put_real(b->json, "copy_gb_s", gb_s(b, copy_all, m));
    json_close(b->json);
}

enum unstir_status
unstir_bench_machine(const struct unstir_bench_options *options, char **json,
                     struct unstir_error *err)
{
    struct bench_rows b;
    struct memory m = {.k = &b.k.gemm};
    enum unstir_status status;

    *json = NULL;
    status = bench_rows_init(&b, options, err);
    if (status == UNSTIR_OK)
        status = bench_rows_floats(&m.a, MEMORY_PARTS * PART_FLOATS, err);
    if (status == UNSTIR_OK)
        status = bench_rows_floats(&m.b, MEMORY_PARTS * PART_FLOATS, err);
    if (status == UNSTIR_OK) {
        tell(&b, &m);
        status = bench_rows_finish(&b, json, err);
    }
    alloc_free(m.a);
    alloc_free(m.b);
    bench_rows_fini(&b);
    return status;
}
