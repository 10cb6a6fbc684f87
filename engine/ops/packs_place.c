/* packs_place.c - which of a network's products are joined, on which operands
 * they work, and where their weights lie: in the image or as they are stored.
 *
 * Linear layers that read one value are joined: their rows are stacked and
 * packed as one weight, so that one product serves all of them and the value
 * is read once.  Which layers join depends on the graph alone, not on sizes.
 *
 * A big network's weights are not packed where a product can read them as they
 * are stored; only how many bytes packing would take decides.  Of joined layers
 * their rows are the pieces of one weight.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/packs_parts.h"

#include "base/alloc.h"
#include "base/size.h"
#include "ops/conv2d_phases.h"
#include "ops/linear_int8.h"
#include "ops/weight_rows.h"

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

uint32_t packs_columns(const struct graph *g, const struct graph_op *op)
{
    return graph_param_at(g, op->param[0])->dims[0];
}

void packs_join(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        struct op_pack *pack = &packs->ops[i], *leader;

        pack->leader = i;
        if (!graph_is_product(op))
            continue;
        if (packs->mode == LOWER_FUSED && op->kind == OP_LINEAR)
            pack->leader = find_leader(g, i);
        leader = &packs->ops[pack->leader];
        pack->column = leader->width;
        leader->width += packs_columns(g, op);
        leader->n_joined++;
    }
}

struct conv2d_pack_job packs_job(const struct packs *packs,
                                 const struct graph *g, size_t i)
{
    const struct graph_op *op = graph_op_at(g, i);
    const struct graph_param *w = graph_param_at(g, op->param[0]);
    bool is_joined = packs->ops[i].n_joined > 1;

    return (struct conv2d_pack_job){
        .cin = w->dims[1],
        .cout = is_joined ? packs->ops[i].width : w->dims[0],
        .kh = w->rank == 4 ? w->dims[2] : 1,
        .kw = w->rank == 4 ? w->dims[3] : 1,
    };
}

bool packs_is_leader(const struct packs *packs, const struct graph *g, size_t i)
{
    return graph_is_product(graph_op_at(g, i)) && packs->ops[i].leader == i;
}

bool packs_is_led(const struct packs *packs, const struct graph *g, size_t op,
                  size_t i)
{
    return graph_is_product(graph_op_at(g, op)) && packs->ops[op].leader == i;
}

/* What stands in `params`, or is loaded now: *own is alloc_free()d. */
enum unstir_status packs_values(const struct packs *packs, param_id p,
                                const float **values, float **own)
{
    *own = NULL;
    *values = packs->params[p];
    return *values ? UNSTIR_OK
                   : packs->source.load(packs->source.arg, p, values, own);
}

/* -- operands ---------------------------------------------------------- */

const struct kernel_table *packs_table_of(const struct packs *packs, size_t op)
{
    return packs->ops[op].operands == OPERANDS_EXACT ? &packs->exact
                                                     : packs->table;
}

static bool has_border(const struct graph *g, const struct graph_op *op)
{
    struct shape x = graph_shape(g, op->in[0]), y = graph_shape(g, op->out);

    return op->kind == OP_CONV2D && (x.h != y.h || x.w != y.w);
}

/* Whether a weight passes the gate of 8-bit numbers. */
static enum unstir_status try_weight(bool *is_accurate,
                                     const struct packs *packs,
                                     const struct graph *g, param_id p)
{
    const struct graph_param *param = graph_param_at(g, p);
    const float *w;
    float *own;

    TRY(packs_values(packs, p, &w, &own));
    *is_accurate = linear_int8_is_accurate(w, param->dims[1], param->dims[0]);
    alloc_free(own);
    return UNSTIR_OK;
}

/* All weights that follow leader i must. */
static enum unstir_status try_weights(bool *is_accurate,
                                      const struct packs *packs,
                                      const struct graph *g, size_t i)
{
    *is_accurate = true;
    for (size_t j = i; j < packs->n_ops && *is_accurate; j++)
        if (packs_is_led(packs, g, j, i))
            TRY(try_weight(is_accurate, packs, g, graph_op_at(g, j)->param[0]));
    return UNSTIR_OK;
}

static enum unstir_status choose_leader(struct packs *packs,
                                        const struct graph *g, size_t i,
                                        enum product_role role, bool has_params)
{
    const struct graph_op *op = graph_op_at(g, i);
    struct op_pack *pack = &packs->ops[i];
    struct conv2d_pack_job j = packs_job(packs, g, i);
    struct choose_product p = {.role = role,
                               .cin = j.cin,
                               .cout = j.cout,
                               .kh = j.kh,
                               .kw = j.kw,
                               .stride =
                                   op->kind == OP_CONV2D ? op->attrs.stride : 1,
                               .has_border = has_border(g, op)};
    bool is_accurate = true;

    if (pack->is_borrowed) {
        pack->operands = packs->base->ops[i].operands;
        return UNSTIR_OK;
    }
    pack->operands = choose_operands(packs->table, &p);
    if (pack->operands != OPERANDS_INT8 || !has_params)
        return UNSTIR_OK;
    TRY(try_weights(&is_accurate, packs, g, i));
    if (!is_accurate)
        pack->operands = OPERANDS_RUNG;
    return UNSTIR_OK;
}

/* Joined layers read one value; by the leader goes what all of them get. */
enum unstir_status packs_choose(struct packs *packs, const struct graph *g,
                                bool has_params, struct unstir_error *err)
{
    enum unstir_status status;
    enum product_role *roles;

    kernels_use_exact_operands(&packs->exact, packs->table);
    TRY(alloc_zero(&roles, packs->n_ops, sizeof *roles, err));
    status = choose_roles(roles, g, err);
    for (size_t i = 0; status == UNSTIR_OK && i < packs->n_ops; i++) {
        size_t leader = packs->ops[i].leader;

        if (packs_is_leader(packs, g, i))
            status = choose_leader(packs, g, i, roles[i], has_params);
        else
            packs->ops[i].operands = packs->ops[leader].operands;
    }
    alloc_free(roles);
    return status;
}

/* -- places ------------------------------------------------------------ */

/* A 3x3 convolution that alone reads an upsampling: lowering can fuse them.
 * Whether the sizes are right only shapes can say. */
static bool is_upsampled(const struct packs *packs, const struct graph *g,
                         size_t i)
{
    const struct graph_op *op = graph_op_at(g, i);
    const struct graph_value *x = graph_value_at(g, op->in[0]);

    return packs->mode == LOWER_FUSED &&
           packs->ops[i].operands == OPERANDS_RUNG && op->kind == OP_CONV2D &&
           op->attrs.kh == 3 && op->attrs.kw == 3 && op->attrs.stride == 1 &&
           x->n_uses == 1 && graph_op_at(g, x->op)->kind == OP_UPSAMPLE;
}

static enum unstir_status place(struct packs *packs, size_t *at, size_t bytes,
                                struct unstir_error *err)
{
    *at = packs->bytes;
    if (!size_add(packs->bytes, size_align(bytes, 64), &packs->bytes))
        return error_set(err, UNSTIR_ERR_LIMIT, "the weights are too large");
    return UNSTIR_OK;
}

static size_t product_bytes(const struct packs *packs, size_t i,
                            const struct conv2d_pack_job *j)
{
    const struct kernel_table *k = packs_table_of(packs, i);

    return packs->ops[i].operands == OPERANDS_INT8
               ? linear_int8_packed_bytes(k, j->cin, j->cout)
               : conv2d_packed_bytes(k, j->cin, j->cout, j->kh, j->kw);
}

static enum unstir_status place_all(struct packs *packs, const struct graph *g,
                                    struct unstir_error *err)
{
    packs->bytes = 0;
    for (size_t i = 0; i < packs->n_ops; i++) {
        struct op_pack *pack = &packs->ops[i];
        struct conv2d_pack_job j;

        pack->panels_at = pack->phases_at = pack->bias_at = PACK_NOWHERE;
        if (!packs_is_leader(packs, g, i) || pack->is_borrowed)
            continue;
        j = packs_job(packs, g, i);
        pack->has_phases = is_upsampled(packs, g, i);
        if (pack->n_joined > 1)
            TRY(place(packs, &pack->bias_at, pack->width * sizeof(float), err));
        if (pack->is_in_place)
            continue;
        TRY(place(packs, &pack->panels_at, product_bytes(packs, i, &j), err));
        if (pack->has_phases)
            TRY(place(packs, &pack->phases_at,
                      conv2d_phases_packed_bytes(packs_table_of(packs, i),
                                                 j.cin, j.cout),
                      err));
    }
    return UNSTIR_OK;
}

size_t packs_start(const struct op_pack *pack)
{
    return pack->bias_at != PACK_NOWHERE ? pack->bias_at : pack->panels_at;
}

size_t packs_image_bytes(const struct packs *packs, size_t i)
{
    size_t start = packs_start(&packs->ops[i]);

    if (start == PACK_NOWHERE)
        return 0;
    for (size_t k = i + 1; k < packs->n_ops; k++)
        if (packs_start(&packs->ops[k]) != PACK_NOWHERE)
            return packs_start(&packs->ops[k]) - start;
    return packs->bytes - start;
}

/* -- in place ---------------------------------------------------------- */

static bool is_stored_well(const struct packs *packs, const struct graph *g,
                           size_t op, const struct packs_stored *stored)
{
    const struct packs_stored *w = &stored[graph_op_at(g, op)->param[0]];
    struct conv2d_pack_job j = packs_job(packs, g, op);

    return w->data && weight_rows_fit(w->type, j.cin, j.kh * j.kw);
}

/* Whether leader i reads its weights where they are, in a network whose
 * weights stay there. */
static bool can_stay(const struct packs *packs, const struct graph *g, size_t i,
                     const struct packs_stored *stored)
{
    const struct op_pack *pack = &packs->ops[i];
    struct conv2d_pack_job j = packs_job(packs, g, i);

    if (pack->operands == OPERANDS_INT8 ||
        !conv2d_reads_rows(packs_table_of(packs, i), j.cin, j.cout))
        return false;
    for (size_t k = i; k < packs->n_ops; k++)
        if (packs_is_led(packs, g, k, i) &&
            !is_stored_well(packs, g, k, stored))
            return false;
    return true;
}

/* The pieces of leader i from `piece` on; what they leave free. */
static struct weight_piece *add_pieces(struct packs *packs,
                                       const struct graph *g, size_t i,
                                       const struct packs_stored *stored,
                                       struct weight_piece *piece)
{
    struct weight_rows *rows = &packs->rows[i];
    struct conv2d_pack_job j = packs_job(packs, g, i);

    *rows = (struct weight_rows){.pieces = piece,
                                 .cin = j.cin,
                                 .cout = j.cout,
                                 .kh = j.kh,
                                 .kw = j.kw,
                                 .phase = WEIGHT_WHOLE};
    for (size_t k = i; k < packs->n_ops; k++) {
        const struct graph_op *op = graph_op_at(g, k);
        const struct packs_stored *w;

        if (!packs_is_led(packs, g, k, i))
            continue;
        w = &stored[op->param[0]];
        packs->stored[op->param[0]] = *w;
        *piece++ =
            (struct weight_piece){w->data, w->type, packs_columns(g, op)};
        rows->n_pieces++;
    }
    return piece;
}

static enum unstir_status keep_in_place(struct packs *packs,
                                        const struct graph *g,
                                        const struct packs_stored *stored,
                                        struct unstir_error *err)
{
    struct weight_piece *piece;

    TRY(alloc_zero(&packs->rows, packs->n_ops, sizeof *packs->rows, err));
    TRY(alloc_zero(&piece, packs->n_ops, sizeof *packs->pieces, err));
    packs->pieces = piece;
    TRY(alloc_zero(&packs->stored, packs->n_params, sizeof *packs->stored,
                   err));
    packs->is_in_place = true;
    for (size_t i = 0; i < packs->n_ops; i++) {
        struct op_pack *pack = &packs->ops[i];

        if (!packs_is_leader(packs, g, i) || pack->is_borrowed)
            continue;
        pack->is_in_place = can_stay(packs, g, i, stored);
        if (pack->is_in_place)
            piece = add_pieces(packs, g, i, stored, piece);
    }
    return place_all(packs, g, err);
}

/* Numbers in the weights of all products. */
static uint64_t n_weights(const struct packs *packs, const struct graph *g)
{
    uint64_t n = 0;

    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);

        if (graph_is_product(op))
            n += graph_param_at(g, op->param[0])->n;
    }
    return n;
}

static bool wants_in_place(const struct packs *packs, const struct graph *g,
                           const struct packs_params *params)
{
    if (!params->stored || params->keeping == PACKS_PACKED)
        return false;
    if (packs->base)
        return packs->base->is_in_place;
    return params->keeping == PACKS_IN_PLACE ||
           choose_in_place(n_weights(packs, g));
}

enum unstir_status packs_place(struct packs *packs, const struct graph *g,
                               const struct packs_params *params,
                               struct unstir_error *err)
{
    TRY(place_all(packs, g, err));
    return wants_in_place(packs, g, params)
               ? keep_in_place(packs, g, params->stored, err)
               : UNSTIR_OK;
}

void packs_drop_packed(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        bool is_joined = packs->ops[packs->ops[i].leader].n_joined > 1;

        if (!graph_is_product(op))
            continue;
        packs->params[op->param[0]] = NULL;
        if (is_joined && op->param[1] != GRAPH_NO_PARAM)
            packs->params[op->param[1]] = NULL;
    }
}
