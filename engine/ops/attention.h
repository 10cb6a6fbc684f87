/* attention.h - softmax(q kT scale) v for each image and head, and adjoint.
 *
 * q, k, v, o are tokens with heads side by side: head j of a token is the d
 * channels from j * d.  Row strides (ld*) are in floats, so that q, k, v may
 * be columns of one product; images lie len * ld apart.  Flash style: the
 * len_q x len_k matrix is never stored; the maximum is subtracted; sums f32.
 * k and v may be of another sequence than q (len_k != len_q).  The adjoint
 * knows no causal mask.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_ATTENTION_H
#define OPS_ATTENTION_H

#include <stdbool.h>

#include "ops/op.h"

struct attention_args {
    uint32_t n, heads, d, len_q, len_k;
    uint32_t ldq, ldk, ldv, ldo;
    float scale;
    bool is_causal; /* query i sees keys 0 .. i; len_q = len_k               */
    const float *q, *k, *v;
    float *o;
    float *lse; /* [n][heads][len_q] log of the softmax sum, kept for the
                   adjoint, or NULL                                          */
};
size_t attention_scratch(const struct kernel_table *k, unsigned n_threads,
                         const struct attention_args *shape);
void attention_run(const struct op_ctx *ctx, const void *args);

/* dq, dk, dv are written (strides as q, k, v). */
struct attention_bwd_args {
    struct attention_args fwd; /* with o and lse as the forward left them    */
    const float *d_o;          /* stride ldo                                 */
    float *dq, *dk, *dv;
};
size_t attention_bwd_scratch(const struct kernel_table *k, unsigned n_threads,
                             const struct attention_args *shape);
void attention_bwd(const struct op_ctx *ctx, const void *args);

#endif
