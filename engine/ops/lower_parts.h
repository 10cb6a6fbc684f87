/* lower_parts.h - what the parts of the inference lowering share.
 *
 * lower.c walks the graph and has the design; lower_forms.c turns forms into
 * stored values; lower_products.c lowers convolutions and linear layers;
 * lower_plain.c what stands alone, lower_tokens.c what transformers need.
 * Names are inner to ops/.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_LOWER_PARTS_H
#define OPS_LOWER_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "ops/graph.h"
#include "ops/hoist.h"
#include "ops/lower.h"
#include "ops/packs_ops.h"
#include "ops/plan.h"

#define NO_OP      SIZE_MAX
#define NAME_BYTES 160

/* Where a stored value lies: rows of `ld` floats, of which it has the first
 * c from `offset` on. */
struct place {
    buffer_id buffer;
    size_t offset; /* bytes */
    uint32_t ld;
};

struct form {
    value_id src[2]; /* stored, contiguous; src[1] may be GRAPH_NO_VALUE    */
    size_t norm;     /* the OP_GROUP_NORM to apply, or NO_OP                */
    value_id e;      /* scale-shift of that norm, or GRAPH_NO_VALUE         */
    enum act act;
    bool has_up;
};

struct value_state {
    struct form form;
    struct place at;    /* when stored */
    buffer_id external; /* of an output, else PLAN_NO_BUFFER                 */
    uint32_t n_readers; /* joined operations count once                      */
    size_t reader;      /* one of them                                       */
    bool is_wanted;     /* by a shallow body                                 */
    bool is_narrow;     /* stored as operands of its reader's product        */
};

struct lowering {
    const struct graph *g;
    const struct packs *packs;
    const struct kernel_table *k;
    unsigned n_threads;
    bool is_fused;
    struct plan_builder *b;
    struct value_state *values;
    bool *is_done; /* by operation */
    enum lower_part part;
    struct hoist hoist; /* but for LOWER_WHOLE                               */
    const struct lower_stage *stage; /* or NULL: all of the part             */
    buffer_id norms;                 /* of a stage that is_normed            */
};

static inline struct shape shape_of(const struct lowering *l, value_id v)
{
    return graph_shape(l->g, v);
}

/* Its place in the graph. */
static inline size_t index_of(const struct lowering *l,
                              const struct graph_op *op)
{
    return graph_value_at(l->g, op->out)->op;
}

static inline size_t n_floats(struct shape s)
{
    return (size_t)s.n * s.h * s.w * s.c;
}

static inline size_t n_rows(struct shape s)
{
    return (size_t)s.n * s.h * s.w;
}

static inline struct form form_of(value_id v)
{
    return (struct form){
        .src = {v, GRAPH_NO_VALUE},
        .norm = NO_OP,
        .e = GRAPH_NO_VALUE,
    };
}

#define SLOT(type, member, place, access)                              \
    ((struct plan_slot){offsetof(struct type, member), (place).buffer, \
                        (access), (place).offset})
#define READ(type, member, place)  SLOT(type, member, place, PLAN_READ)
#define WRITE(type, member, place) SLOT(type, member, place, PLAN_WRITE)

#define NOWHERE ((struct place){PLAN_NO_BUFFER, 0, 0})

#define ADD_STEP(l, name, fn, args, scratch, slots)                   \
    plan_add((l)->b, name, fn, &(args), sizeof(args), scratch, slots, \
             ARRAY_LEN(slots))

/* Operation i and, first, whatever it needs; each once. */
void lower_op(struct lowering *l, size_t i);

/* -- lower_forms.c: values ------------------------------------------------- */

/* The layer's name without ".weight"; other operations have none. */
void lower_layer_name(const struct lowering *l, const struct graph_op *op,
                      const char *fallback, char *name);

/* Memory for v: a new buffer, or the output that it is. */
struct place lower_new_place(struct lowering *l, value_id v);

/* v is stored at `at` from now on. */
void lower_set_stored(struct lowering *l, value_id v, struct place at);

/* Columns of `from` become columns of `to`. */
void lower_copy_columns(struct lowering *l, const char *name, size_t rows,
                        uint32_t c, struct place from, struct place to,
                        uint32_t to_column);

/* The statistics of a form's norm, folded into a scale and a shift. */
void lower_emit_stats(struct lowering *l, const struct form *f,
                      struct place *scale, struct place *shift);

/* The stored place of v, lowered if need be; rows may be apart. */
struct place lower_require(struct lowering *l, value_id v);

/* The same with rows one after the other. */
struct place lower_contiguous(struct lowering *l, value_id v);

/* A form that reads v: v's own if it can be built upon, else v stored. */
struct form lower_form_upon(struct lowering *l, value_id v, bool may_build);

void lower_group_norm(struct lowering *l, const struct graph_op *op);
void lower_act(struct lowering *l, const struct graph_op *op);
void lower_upsample(struct lowering *l, const struct graph_op *op);
void lower_concat(struct lowering *l, const struct graph_op *op);
void lower_reshape(struct lowering *l, const struct graph_op *op);
void lower_scale_shift(struct lowering *l, const struct graph_op *op);

/* -- lower_products.c ------------------------------------------------------ */

void lower_product(struct lowering *l, const struct graph_op *op);

/* A new place for v: for operands of the product that reads it, if one alone
 * does and takes them as they lie (then is_narrow is set), or for floats. */
struct place lower_rows_place(struct lowering *l, value_id v);

/* -- lower_plain.c --------------------------------------------------------- */

void lower_sum(struct lowering *l, const struct graph_op *op);
void lower_add_vec(struct lowering *l, const struct graph_op *op);
void lower_div_vec(struct lowering *l, const struct graph_op *op);
void lower_avg_pool2(struct lowering *l, const struct graph_op *op);
void lower_fir(struct lowering *l, const struct graph_op *op);
void lower_attention(struct lowering *l, const struct graph_op *op);
void lower_time_embed(struct lowering *l, const struct graph_op *op);
void lower_fourier(struct lowering *l, const struct graph_op *op);
void lower_lookup(struct lowering *l, const struct graph_op *op);

/* -- lower_tokens.c -------------------------------------------------------- */

void lower_layer_norm(struct lowering *l, const struct graph_op *op);
void lower_glu(struct lowering *l, const struct graph_op *op);
void lower_slice(struct lowering *l, const struct graph_op *op);
void lower_mul_vec(struct lowering *l, const struct graph_op *op);
void lower_add_rows(struct lowering *l, const struct graph_op *op);
void lower_grid_embed(struct lowering *l, const struct graph_op *op);
void lower_unpatch(struct lowering *l, const struct graph_op *op);
void lower_nearest(struct lowering *l, const struct graph_op *op);

#endif
