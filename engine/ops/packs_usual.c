/* packs_usual.c - weights packed for one size: the way that a product goes
 * there, and no other.
 *
 * Panels, filters and phases are made of rows, as products make them that read
 * their weights where they are stored, so the bits are the same, and so is the
 * work that a size with other ways does: it reads the rows.
 *
 * Filters stand behind a head that tells what the gate said of them, so that
 * an image from a file need not be tried again.  Refused ones are never there:
 * direct panels, which take 9/16 of their place, are.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/alloc.h"
#include "ops/conv2d_phases.h"
#include "ops/packs_parts.h"
#include "ops/weight_rows.h"
#include "ops/winograd.h"

#define N_PHASES 4u

struct head {
    uint32_t is_refused;
};
#define HEAD_BYTES ((size_t)64)

/* -- choosing -------------------------------------------------------------- */

/* The convolution of leader i as lowering will ask for it, one picture. */
static struct conv2d_shape usual_shape(const struct packs *packs,
                                       const struct graph *usual, size_t i)
{
    const struct graph_op *op = graph_op_at(usual, i);
    struct conv2d_pack_job j = packs_job(packs, usual, i);
    struct shape x = graph_shape(usual, op->in[0]);
    struct shape y = graph_shape(usual, op->out);
    uint32_t up = packs_is_upsampled(packs, usual, i) ? 2 : 1;

    return (struct conv2d_shape){.n = 1,
                                 .h = x.h / up,
                                 .w = x.w / up,
                                 .up_h = x.h,
                                 .up_w = x.w,
                                 .c0 = j.cin,
                                 .cout = j.cout,
                                 .kh = j.kh,
                                 .kw = j.kw,
                                 .stride = op->attrs.stride,
                                 .pad_t = op->attrs.pad_t,
                                 .pad_l = op->attrs.pad_l,
                                 .oh = y.h,
                                 .ow = y.w};
}

enum pack_form packs_usual_form(const struct packs *packs,
                                const struct graph *usual, size_t i)
{
    const struct kernel_table *k = packs_table_of(packs, i);
    struct conv2d_shape s;

    if (graph_op_at(usual, i)->kind != OP_CONV2D)
        return PACK_DIRECT;
    s = usual_shape(packs, usual, i);
    switch (choose_conv(k, &s, packs_is_upsampled(packs, usual, i))) {
    case CONV_WINOGRAD:
        return PACK_FILTERS;
    case CONV_PHASES:
        return PACK_PHASES;
    default:
        return PACK_DIRECT;
    }
}

bool packs_has_other_ways(const struct packs *packs, const struct graph *g,
                          size_t i)
{
    struct conv2d_pack_job j = packs_job(packs, g, i);

    return packs_is_upsampled(packs, g, i) ||
           choose_packs_winograd(packs_table_of(packs, i), j.cin, j.cout, j.kh,
                                 j.kw);
}

/* -- packing --------------------------------------------------------------- */

size_t packs_form_bytes(const struct packs *packs, const struct graph *g,
                        size_t i)
{
    const struct kernel_table *k = packs_table_of(packs, i);
    struct conv2d_pack_job j = packs_job(packs, g, i);

    switch (packs->ops[i].form) {
    case PACK_FILTERS:
        return HEAD_BYTES + winograd_packed_bytes(k, j.cin, j.cout);
    case PACK_PHASES:
        return conv2d_phases_packed_bytes(k, j.cin, j.cout);
    default:
        return conv2d_panels_bytes(k, j.cin, j.cout, j.kh, j.kw);
    }
}

static void pack_panels(const struct kernel_table *k, unsigned char *to,
                        const struct weight_rows *rows, void *room)
{
    uint32_t nr = k->gemm.nr, n = (rows->cout + nr - 1) / nr;
    size_t bytes =
        conv2d_panels_bytes(k, rows->cin, rows->cout, rows->kh, rows->kw) / n;

    for (uint32_t p = 0; p < n; p++)
        weight_panel(k, to + p * bytes, rows, p, room);
}

static void pack_phases(const struct kernel_table *k, unsigned char *to,
                        const struct weight_rows *rows, void *room)
{
    size_t bytes =
        conv2d_phases_packed_bytes(k, rows->cin, rows->cout) / N_PHASES;

    for (uint32_t phase = 0; phase < N_PHASES; phase++) {
        struct weight_rows one = weight_rows_phase(rows, phase);

        pack_panels(k, to + phase * bytes, &one, room);
    }
}

static enum unstir_status pack_filters(const struct kernel_table *k,
                                       unsigned char *to,
                                       const struct weight_rows *rows,
                                       void *room)
{
    struct head head = {0};
    bool is_accurate = true;

    if (k->gemm.is_bf16)
        TRY(winograd_rows_are_accurate(&is_accurate, k, rows));
    head.is_refused = !is_accurate;
    memset(to, 0, HEAD_BYTES);
    memcpy(to, &head, sizeof head);
    if (is_accurate)
        winograd_pack_rows(k, to + HEAD_BYTES, rows, room);
    else
        pack_panels(k, to + HEAD_BYTES, rows, room);
    return UNSTIR_OK;
}

enum unstir_status packs_pack_form(const struct packs *packs, size_t i,
                                   unsigned char *to)
{
    const struct kernel_table *k = packs_table_of(packs, i);
    const struct weight_rows *rows = &packs->rows[i];
    enum unstir_status status = UNSTIR_OK;
    void *room;

    TRY(alloc_aligned(&room, weight_room_bytes(k), 1, NULL));
    switch (packs->ops[i].form) {
    case PACK_FILTERS:
        status = pack_filters(k, to, rows, room);
        break;
    case PACK_PHASES:
        pack_phases(k, to, rows, room);
        break;
    default:
        pack_panels(k, to, rows, room);
    }
    alloc_free(room);
    return status;
}

/* -- reading --------------------------------------------------------------- */

void packs_point_form(struct op_pack *pack, struct weight_rows *rows,
                      const unsigned char *at)
{
    struct head head;

    pack->panels = pack->form == PACK_PHASES ? NULL : at;
    pack->phases = pack->form == PACK_PHASES ? at : NULL;
    if (pack->form != PACK_FILTERS)
        return;
    memcpy(&head, at, sizeof head);
    pack->panels = at + HEAD_BYTES;
    rows->is_demoted = head.is_refused != 0;
    if (rows->is_demoted)
        pack->form = PACK_DIRECT;
}
