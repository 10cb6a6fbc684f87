/* plan.h - a static list of operations with offsets into one arena.
 *
 * A plan is built once for a network and its sizes, then run any number of
 * times, by any number of threads at once (each with its own arena): running
 * it allocates nothing.  It knows no networks: it is a list of steps
 * (function, arguments, which pointers of the arguments are which buffers)
 * and of buffers (size, life).  Lowerings build it: ops/lower (inference) and
 * train/ (forward, adjoints, optimiser).
 *
 *     struct plan_builder *b;
 *     plan_builder_new(&b, table, n_threads, err);
 *     buffer_id x = plan_external(b);               bound at each run
 *     buffer_id y = plan_buffer(b, bytes);          lives in the arena
 *     struct plan_slot slots[] = {
 *         { offsetof(struct conv2d_args, x0), x, PLAN_READ },
 *         { offsetof(struct conv2d_args, y), y, PLAN_WRITE },
 *     };
 *     plan_add(b, "conv_in", conv2d_run, &args, sizeof args, scratch,
 *              slots, 2);
 *     plan_finish(&plan, b, err);
 *     ...
 *     plan_run(plan, pool, arena, externals, cancel);
 *
 * A buffer lives from the first step that names it to the last.  Offsets are
 * found by placing the largest buffer first where no buffer with an
 * overlapping life stands (greedy by size); 64-byte aligned.  Scratch is one
 * more region behind, sized for the hungriest step.
 *
 * Building errors (no memory) are kept and told by plan_finish(), so lowering
 * code needs no checks between.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_PLAN_H
#define OPS_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ops/op.h"

struct cancel;
struct plan;
struct plan_builder;

typedef uint32_t buffer_id;
typedef void (*plan_fn)(const struct op_ctx *ctx, const void *args);

#define PLAN_NO_BUFFER UINT32_MAX
#define PLAN_MAX_ARGS  256 /* bytes of an argument struct                     */
#define PLAN_MAX_SLOTS 16

enum plan_access { PLAN_READ = 1, PLAN_WRITE = 2, PLAN_READ_WRITE = 3 };

struct plan_slot {
    size_t args_offset; /* of a pointer in the argument struct            */
    buffer_id buffer;   /* PLAN_NO_BUFFER: leave the pointer as it is     */
    enum plan_access access;
    size_t byte_offset; /* into the buffer                                */
};

enum unstir_status plan_builder_new(struct plan_builder **out,
                                    const struct kernel_table *table,
                                    unsigned n_threads,
                                    struct unstir_error *err);
void plan_builder_free(struct plan_builder *b); /* if it is not finished     */

buffer_id plan_buffer(struct plan_builder *b, size_t bytes);
buffer_id plan_external(struct plan_builder *b);

/* `name` is for profiles and tests (copied).  args is copied. */
void plan_add(struct plan_builder *b, const char *name, plan_fn fn,
              const void *args, size_t args_bytes, size_t scratch_bytes,
              const struct plan_slot *slots, size_t n_slots);

/* What a product computes and how, for people; the texts are constants. */
struct plan_product {
    uint32_t n, h, w, cin, cout, kernel, stride;
    const char *way, *operands;
    size_t packed_bytes;
};

/* Of the step added last. */
void plan_describe(struct plan_builder *b, const struct plan_product *product);

/* What kind of operation the step added last is (a constant), where its name
 * does not say it, and its multiply-adds, counted as two. */
void plan_tell(struct plan_builder *b, const char *kind, double flop);

/* Place the buffers; the builder is ended in every case. */
enum unstir_status plan_finish(struct plan **out, struct plan_builder *b,
                               struct unstir_error *err);
void plan_free(struct plan *plan);

size_t plan_arena_bytes(const struct plan *plan);
size_t plan_bytes(const struct plan *plan); /* of the plan itself            */
size_t plan_n_steps(const struct plan *plan);
const char *plan_step_name(const struct plan *plan, size_t i);
/* NULL: it was not described. */
const struct plan_product *plan_step_product(const struct plan *plan, size_t i);
const char *plan_step_kind(const struct plan *plan, size_t i);
double plan_step_flop(const struct plan *plan, size_t i);

/* Offset of a buffer in the arena: while steps name it, it is alone there. */
size_t plan_buffer_offset(const struct plan *plan, buffer_id id);

/* Run all steps.  `arena` has plan_arena_bytes() bytes, 64-byte aligned;
 * externals[i] is bound to the i-th plan_external().  `cancel` (may be NULL)
 * is polled between steps: UNSTIR_ERR_CANCELLED.  n threads of `pool` must
 * not exceed the builder's. */
enum unstir_status plan_run(const struct plan *plan, struct pool *pool,
                            void *arena, void *const *externals,
                            const struct cancel *cancel,
                            struct unstir_error *err);

/* The same, adding step i's time to times[i]: by the clock, and that of the
 * process on its CPUs, all threads together. */
struct plan_time {
    double s, cpu_s;
};
enum unstir_status plan_run_timed(const struct plan *plan, struct pool *pool,
                                  void *arena, void *const *externals,
                                  struct plan_time *times,
                                  struct unstir_error *err);

#endif
