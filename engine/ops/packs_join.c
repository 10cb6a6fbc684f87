/* packs_join.c - the products of a network: which are joined, what they are as
 * convolutions, and on which table they work.
 *
 * Linear layers that read one value are joined: their rows are stacked and
 * packed as one weight, so that one product serves all of them and the value
 * is read once.  Which layers join depends on the graph alone, not on sizes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/packs_parts.h"

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

const struct kernel_table *packs_table_of(const struct packs *packs, size_t op)
{
    return packs->ops[op].operands == OPERANDS_EXACT ? &packs->exact
                                                     : packs->table;
}

bool packs_is_upsampled(const struct packs *packs, const struct graph *g,
                        size_t i)
{
    const struct graph_op *op = graph_op_at(g, i);
    const struct graph_value *x = graph_value_at(g, op->in[0]);

    return packs->mode == LOWER_FUSED &&
           packs->ops[i].operands == OPERANDS_RUNG && op->kind == OP_CONV2D &&
           op->attrs.kh == 3 && op->attrs.kw == 3 && op->attrs.stride == 1 &&
           x->n_uses == 1 && graph_op_at(g, x->op)->kind == OP_UPSAMPLE;
}
