/* generation_executor.c - what a worker brings to generations: its pool and
 * plans, and tensors for a batch, which grow with what it is given.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/alloc.h"
#include "model/network.h"
#include "pipeline/generation.h"

enum unstir_status
generation_executor_new(struct unstir_executor **out,
                        const struct unstir_executor_options *options,
                        struct unstir_error *err)
{
    static const struct unstir_executor_options none;
    const struct unstir_executor_options *o = options ? options : &none;
    void *memory;

    *out = NULL;
    TRY(alloc_zero(&memory, 1, sizeof **out, err));
    struct unstir_executor *x = memory;
    enum unstir_status st = executor_new_placed(
        &x->inner, o->n_threads, o->nice, o->pin, o->max_arena_bytes, err);
    if (st)
        alloc_free(x);
    else
        *out = x;
    return st;
}

void generation_executor_free(struct unstir_executor *executor)
{
    if (!executor)
        return;
    executor_free(executor->inner);
    alloc_free(executor->sample);
    alloc_free(executor->deep);
    alloc_free(executor->out);
    conditioning_batch_fini(&executor->text);
    alloc_free(executor);
}
