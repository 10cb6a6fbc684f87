/* choose.h - which algorithm and which operands a layer gets: rules, in one
 * place, as tables (choose.c).
 *
 * A choice changes bits, so it follows from the rung, the precision, the shape
 * of one picture and the place in the network, and from the gates that try
 * packed weights on fixed data; never from timing, the number of pictures or
 * threads (tests/kern/t_choose.c).  Of training alone, the adjoint of weights
 * sums over a micro-batch, so its size counts too.  Rules were found by
 * measuring; each says what.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_CHOOSE_H
#define OPS_CHOOSE_H

#include <stdbool.h>

#include "base/error.h"
#include "ops/conv2d_args.h"

struct graph;
struct kernel_table;

/* -- operands: what weights are packed for --------------------------------- */

enum choose_operands {
    OPERANDS_RUNG,  /* those of the table's products                         */
    OPERANDS_EXACT, /* f32 where the table's are rounded to bf16             */
    OPERANDS_INT8   /* ops/linear_int8.h, if its gate agrees                 */
};

/* What a product works on. */
enum product_role {
    PRODUCT_BODY,
    PRODUCT_EDGE, /* the first or the last on the picture's way              */
    PRODUCT_STEP  /* neither picture nor text: timestep, label, sizes        */
};

struct choose_product {
    enum product_role role;
    uint32_t cin, cout, kh, kw, stride;
    bool has_border;
};

enum choose_operands choose_operands(const struct kernel_table *k,
                                     const struct choose_product *p);

/* How a network keeps the weights of its products, so many numbers; bits do not
 * depend on it.  KEEP_USUAL: packed for the size that it was made for alone,
 * and where they are stored for all others. */
enum choose_keeping { KEEP_PACKED, KEEP_USUAL, KEEP_IN_PLACE };

enum choose_keeping choose_keeping(const struct kernel_table *k,
                                   uint64_t n_weights);

/* roles[i] of operation i; anything of what is no product.  `roles` has
 * graph_n_ops() places. */
enum unstir_status choose_roles(enum product_role *roles, const struct graph *g,
                                struct unstir_error *err);

/* -- algorithms ------------------------------------------------------------ */

enum conv_way {
    CONV_TILES,    /* tiles of direct products                               */
    CONV_DOTS,     /* dot products, for few outputs                          */
    CONV_BLAS,     /* gathered rows times a matrix, by the system's BLAS     */
    CONV_WINOGRAD, /* ops/winograd.h                                         */
    CONV_PHASES,   /* ops/conv2d_phases.h                                    */
    CONV_INT8,     /* ops/linear_int8.h                                      */
};

/* CONV_PHASES only if `has_phases`: the weights have that packing. */
enum conv_way choose_conv(const struct kernel_table *k,
                          const struct conv2d_shape *s, bool has_phases);

/* Adjoints of a convolution, for training. */
enum adjoint_way {
    ADJOINT_DIRECT,   /* tiles, dots or BLAS, as the rung has them           */
    ADJOINT_PHASES,   /* of a strided one's input: ops/conv2d_strided.c      */
    ADJOINT_SWAPPED,  /* of few outputs' weights: x and dy change roles      */
    ADJOINT_PAIRS,    /* of weights, bf16: ops/conv2d_bwd_pairs.c            */
    ADJOINT_WINOGRAD, /* ops/winograd.h                                      */
};

/* Of the input.  `t` is the adjoint as a convolution of dy; its stride is what
 * dy is spread by, or 0 where its border is negative and nothing is spread. */
enum adjoint_way choose_input_adjoint(const struct kernel_table *k,
                                      const struct conv2d_shape *t);

/* Of the weights of a convolution of shape `s`, s->n pictures at once. */
enum adjoint_way choose_weights_adjoint(const struct kernel_table *k,
                                        const struct conv2d_shape *s);

/* Whether weights of this kind meet Winograd at any size. */
bool choose_packs_winograd(const struct kernel_table *k, uint32_t cin,
                           uint32_t cout, uint32_t kh, uint32_t kw);
/* Whether they are rows for dot products, at every size. */
bool choose_packs_dots(const struct kernel_table *k, uint32_t cin,
                       uint32_t cout);

/* As words for people: "tiles", "dots", "winograd f4" ... */
const char *choose_name(const struct kernel_table *k, enum conv_way way);
/* "f32", "bf16", "bf16 in f32" where the rung has f32 products only, "int8". */
const char *choose_operand_name(const struct kernel_table *k,
                                enum conv_way way);

#endif
