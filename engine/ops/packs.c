/* packs.c - packing a network's weights for a rung.
 *
 * Linear layers that read one value are joined: their rows are stacked and
 * packed as one weight, so that one product serves all of them and the value
 * is read once.  Which layers join depends on the graph alone, not on sizes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/packs.h"

#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "ops/conv2d.h"
#include "ops/conv2d_phases.h"

struct packs {
    const struct kernel_table *table;
    enum lower_mode mode;
    struct op_pack *ops;
    size_t n_ops;
    const float **params; /* NULL where packing was all                      */
    size_t n_params;
    void **owned; /* panels and joined biases                                */
    size_t n_owned, cap_owned;
    size_t bytes;
};

static bool is_product(enum op_kind kind)
{
    return kind == OP_CONV2D || kind == OP_LINEAR;
}

/* -- joining ----------------------------------------------------------- */

static size_t find_leader(const struct graph *g, size_t i)
{
    const struct graph_op *op = graph_op_at(g, i);

    for (size_t j = 0; j < i; j++) {
        const struct graph_op *other = graph_op_at(g, j);

        if (other->kind == OP_LINEAR && other->in[0] == op->in[0])
            return j;
    }
    return i;
}

static uint32_t columns_of(const struct graph *g, const struct graph_op *op)
{
    return graph_param_at(g, op->param[0])->dims[0];
}

static void join(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        struct op_pack *pack = &packs->ops[i], *leader;

        pack->leader = i;
        if (!is_product(op->kind))
            continue;
        if (packs->mode == LOWER_FUSED && op->kind == OP_LINEAR)
            pack->leader = find_leader(g, i);
        leader = &packs->ops[pack->leader];
        pack->column = leader->width;
        leader->width += columns_of(g, op);
        leader->n_joined++;
    }
}

/* -- packing ----------------------------------------------------------- */

static enum unstir_status own(struct packs *packs, void **out, size_t bytes,
                              struct unstir_error *err)
{
    void *p = packs->owned;

    TRY(alloc_grow(&p, &packs->cap_owned, packs->n_owned + 1,
                   sizeof *packs->owned, err));
    packs->owned = p;
    TRY(alloc_aligned(out, bytes, 1, err));
    packs->owned[packs->n_owned++] = *out;
    packs->bytes += bytes;
    return UNSTIR_OK;
}

/* A 3x3 convolution that alone reads an upsampling: lowering can fuse them.
 * Whether the sizes are right only shapes can say. */
static bool is_upsampled(const struct packs *packs, const struct graph *g,
                         const struct graph_op *op)
{
    const struct graph_value *x = graph_value_at(g, op->in[0]);

    return packs->mode == LOWER_FUSED && op->kind == OP_CONV2D &&
           op->attrs.kh == 3 && op->attrs.kw == 3 && op->attrs.stride == 1 &&
           x->n_uses == 1 && graph_op_at(g, x->op)->kind == OP_UPSAMPLE;
}

static enum unstir_status pack_phases(struct packs *packs,
                                      const struct graph *g, size_t i,
                                      struct unstir_error *err)
{
    const struct graph_op *op = graph_op_at(g, i);
    const struct graph_param *w = graph_param_at(g, op->param[0]);
    uint32_t cout = w->dims[0], cin = w->dims[1];
    void *phases, *room;

    TRY(own(packs, &phases, conv2d_phases_packed_bytes(packs->table, cin, cout),
            err));
    TRY(alloc_zero(&room, (size_t)cin * cout, 4 * sizeof(float), err));
    conv2d_phases_pack(packs->table, phases, packs->params[op->param[0]], cin,
                       cout, room);
    alloc_free(room);
    packs->ops[i].phases = phases;
    return UNSTIR_OK;
}

static enum unstir_status pack_one(struct packs *packs, const struct graph *g,
                                   size_t i, struct unstir_error *err)
{
    const struct graph_op *op = graph_op_at(g, i);
    const struct graph_param *w = graph_param_at(g, op->param[0]);
    uint32_t kh = w->rank == 4 ? w->dims[2] : 1;
    uint32_t kw = w->rank == 4 ? w->dims[3] : 1;
    void *panels;

    TRY(own(packs, &panels,
            conv2d_packed_bytes(packs->table, w->dims[1], w->dims[0], kh, kw),
            err));
    conv2d_pack(packs->table, panels, packs->params[op->param[0]], w->dims[1],
                w->dims[0], kh, kw);
    packs->ops[i].panels = panels;
    if (op->param[1] != GRAPH_NO_PARAM)
        packs->ops[i].bias = packs->params[op->param[1]];
    if (is_upsampled(packs, g, op))
        TRY(pack_phases(packs, g, i, err));
    return UNSTIR_OK;
}

/* Stack the rows and biases of all that follow leader i. */
static void stack(const struct packs *packs, const struct graph *g, size_t i,
                  float *rows, float *bias)
{
    for (size_t j = i; j < packs->n_ops; j++) {
        const struct graph_op *op = graph_op_at(g, j);
        const struct graph_param *w;

        if (packs->ops[j].leader != i)
            continue;
        w = graph_param_at(g, op->param[0]);
        memcpy(rows, packs->params[op->param[0]], w->n * sizeof *rows);
        rows += w->n;
        if (op->param[1] != GRAPH_NO_PARAM)
            memcpy(bias, packs->params[op->param[1]],
                   w->dims[0] * sizeof *bias);
        bias += w->dims[0];
    }
}

static enum unstir_status pack_joined(struct packs *packs,
                                      const struct graph *g, size_t i,
                                      struct unstir_error *err)
{
    const struct graph_op *op = graph_op_at(g, i);
    uint32_t cin = graph_param_at(g, op->param[0])->dims[1];
    uint32_t width = packs->ops[i].width;
    void *rows, *bias, *panels;

    TRY(own(packs, &bias, (size_t)width * sizeof(float), err));
    TRY(own(packs, &panels, conv2d_packed_bytes(packs->table, cin, width, 1, 1),
            err));
    TRY(alloc_zero(&rows, (size_t)width * cin, sizeof(float), err));
    stack(packs, g, i, rows, bias);
    conv2d_pack(packs->table, panels, rows, cin, width, 1, 1);
    alloc_free(rows);
    packs->ops[i].panels = panels;
    packs->ops[i].bias = bias;
    return UNSTIR_OK;
}

static enum unstir_status pack_all(struct packs *packs, const struct graph *g,
                                   struct unstir_error *err)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        struct op_pack *pack = &packs->ops[i];

        if (!is_product(graph_op_at(g, i)->kind) || pack->leader != i)
            continue;
        if (pack->n_joined > 1)
            TRY(pack_joined(packs, g, i, err));
        else
            TRY(pack_one(packs, g, i, err));
    }
    return UNSTIR_OK;
}

/* Forget what plans will not read. */
static void drop_packed(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        bool is_joined = packs->ops[packs->ops[i].leader].n_joined > 1;

        if (!is_product(op->kind))
            continue;
        packs->params[op->param[0]] = NULL;
        if (is_joined && op->param[1] != GRAPH_NO_PARAM)
            packs->params[op->param[1]] = NULL;
    }
}

enum unstir_status packs_new(struct packs **out, const struct graph *g,
                             const struct kernel_table *table,
                             enum lower_mode mode, const float *const *params,
                             struct unstir_error *err)
{
    struct packs *packs;
    enum unstir_status status;
    void *p;

    *out = NULL;
    TRY(alloc_zero(&p, 1, sizeof *packs, err));
    packs = p;
    packs->table = table;
    packs->mode = mode;
    packs->n_ops = graph_n_ops(g);
    packs->n_params = graph_n_params(g);
    status = alloc_zero(&p, packs->n_ops, sizeof *packs->ops, err);
    if (status != UNSTIR_OK)
        goto out;
    packs->ops = p;
    status = alloc_zero(&p, packs->n_params, sizeof *packs->params, err);
    if (status != UNSTIR_OK)
        goto out;
    packs->params = p;
    for (size_t i = 0; i < packs->n_params; i++)
        packs->params[i] = params[i];
    join(packs, g);
    status = pack_all(packs, g, err);
    if (status != UNSTIR_OK)
        goto out;
    drop_packed(packs, g);
    *out = packs;
    packs = NULL;
out:
    packs_free(packs);
    return status;
}

void packs_free(struct packs *packs)
{
    if (!packs)
        return;
    for (size_t i = 0; i < packs->n_owned; i++)
        alloc_free(packs->owned[i]);
    alloc_free(packs->owned);
    alloc_free(packs->params);
    alloc_free(packs->ops);
    alloc_free(packs);
}

/* -- reading ----------------------------------------------------------- */

size_t packs_bytes(const struct packs *packs)
{
    return packs->bytes;
}

bool packs_needs(const struct packs *packs, param_id p)
{
    return packs->params[p] != NULL;
}

const struct op_pack *packs_op(const struct packs *packs, size_t op)
{
    return &packs->ops[op];
}

const float *packs_param(const struct packs *packs, param_id p)
{
    return packs->params[p];
}

const struct kernel_table *packs_table(const struct packs *packs)
{
    return packs->table;
}

enum lower_mode packs_mode(const struct packs *packs)
{
    return packs->mode;
}

size_t packs_n_ops(const struct packs *packs)
{
    return packs->n_ops;
}
