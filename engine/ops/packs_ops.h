/* packs_ops.h - the packed products of a network, operation by operation, as
 * lowering reads them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_PACKS_OPS_H
#define OPS_PACKS_OPS_H

#include "ops/choose.h"
#include "ops/packs.h"

struct weight_rows;

#define PACK_NOWHERE SIZE_MAX

/* What there is of a product's weights.  Where only one way is packed, the
 * others, if there are any, read rows. */
enum pack_form {
    PACK_EVERY,    /* panels for every way, phases beside them if it has any */
    PACK_IN_PLACE, /* rows                                                   */
    PACK_DIRECT,   /* panels of the direct way                               */
    PACK_FILTERS,  /* Winograd's, behind a head of a cache line              */
    PACK_PHASES    /* phases                                                 */
};

/* The product of an operation.  Joined operations share their leader's: it
 * has `width` columns, of which theirs begin at `column`. */
struct op_pack {
    size_t leader; /* an operation; itself if it is not joined               */
    uint32_t column, width;
    enum choose_operands operands; /* of the leader                          */
    uint32_t n_joined;   /* of the leader, itself included                    */
    bool is_borrowed;    /* of the leader: the pieces are the base's          */
    enum pack_form form; /* of the leader */
    bool has_phases;     /* of the leader: after an upsampling                */
    const void *panels;  /* of the leader: of the form's way, or NULL         */
    const void *phases;  /* of the leader, or NULL                            */
    const struct weight_rows *rows; /* of the leader; NULL: never read       */
    const float *bias;              /* of the leader, or NULL                */
    size_t panels_at, phases_at, bias_at; /* in the image, or PACK_NOWHERE   */
};

const struct op_pack *packs_op(const struct packs *packs, size_t op);
/* That of a product's operands. */
const struct kernel_table *packs_table_of(const struct packs *packs, size_t op);
/* All packings of a leader, its joined bias included; of weights that are read
 * in place their own bytes. */
size_t packs_leader_bytes(const struct packs *packs, size_t leader);
enum lower_mode packs_mode(const struct packs *packs);
size_t packs_n_ops(const struct packs *packs);

#endif
