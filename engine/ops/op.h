/* op.h - what every operation gets to work with.
 *
 * An operation is kernels x threads x blocking on tensors: it cuts its work
 * into chunks that depend on shapes only (never on the number of threads) and
 * runs them on the pool.  Operations allocate nothing and cannot fail;
 * arguments are checked when a plan is built.
 *
 * Tensors are f32, NHWC, contiguous, unpadded.  n images, h rows, w columns,
 * c channels.  Tokens are [n][1][len][c], vectors [n][1][1][c].
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_OP_H
#define OPS_OP_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/act.h"

struct kernel_table;
struct pool;

struct op_ctx {
    const struct kernel_table *k;
    struct pool *pool;      /* NULL: the calling thread alone                 */
    unsigned char *scratch; /* at least the operation's own scratch size      */
    size_t scratch_bytes;
};

#endif
