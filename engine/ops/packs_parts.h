/* packs_parts.h - what the files of packs share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_PACKS_PARTS_H
#define OPS_PACKS_PARTS_H

#include "base/mapfile.h"
#include "kernels/kernels.h"
#include "ops/conv2d.h"
#include "ops/packs_ops.h"

/* Of a parameter, where it is stored if any size reads that. */
struct kept {
    struct packs_stored stored; /* data NULL: none does                      */
    bool is_usual;              /* the usual one does                        */
};

struct packs {
    const struct kernel_table *table;
    struct kernel_table exact; /* the same with f32 operands                 */
    enum lower_mode mode;
    struct op_pack *ops;
    size_t n_ops;
    const float **params; /* NULL where packing was all                      */
    struct packs_params source; /* until the image is there                  */
    size_t n_params;
    const struct packs *base; /* lends pieces of untouched products, or NULL */
    enum choose_keeping keeping;
    struct kept *stored;         /* [p], or NULL: no rows are read           */
    struct weight_rows *rows;    /* by leader                                */
    struct weight_piece *pieces; /* one each operation, by leaders           */
    const unsigned char *image;
    size_t bytes;
    void *own;          /* the image, if it was packed here                  */
    struct mapfile map; /* else the file around it                           */
};

/* -- packs_join.c --------------------------------------------------------- */

/* Whose product each operation's is; first of all. */
void packs_join(struct packs *packs, const struct graph *g);

/* A product that leads others, or no other. */
bool packs_is_leader(const struct packs *packs, const struct graph *g,
                     size_t op);
/* That of op follows leader i, or is it. */
bool packs_is_led(const struct packs *packs, const struct graph *g, size_t op,
                  size_t i);
/* Outputs of one operation. */
uint32_t packs_columns(const struct graph *g, const struct graph_op *op);
/* The product of leader i as a convolution. */
struct conv2d_pack_job packs_job(const struct packs *packs,
                                 const struct graph *g, size_t i);
/* A 3x3 convolution that alone reads an upsampling: lowering can fuse them.
 * Whether the sizes are right only shapes can say. */
bool packs_is_upsampled(const struct packs *packs, const struct graph *g,
                        size_t i);

/* -- packs_place.c --------------------------------------------------------- */

/* On which operands the leaders work.  Without parameters the gates count as
 * passed. */
enum unstir_status packs_choose(struct packs *packs, const struct graph *g,
                                bool has_params, struct unstir_error *err);

/* Where all of them lie: in the image, or as they are stored. */
enum unstir_status packs_place(struct packs *packs, const struct graph *g,
                               struct unstir_error *err);

/* The floats of a parameter, loaded if need be: *own is alloc_free()d. */
enum unstir_status packs_values(const struct packs *packs, param_id p,
                                const float **values, float **own);
/* Where the packings of a leader begin; PACK_NOWHERE: it has none; and how many
 * bytes of the image they are. */
size_t packs_start(const struct op_pack *pack);
size_t packs_image_bytes(const struct packs *packs, size_t i);
/* Forget what plans will not read. */
void packs_drop_packed(struct packs *packs, const struct graph *g);
/* -- packs_usual.c --------------------------------------------------------- */

/* The one form that leader i has at the size of graph `usual`. */
enum pack_form packs_usual_form(const struct packs *packs,
                                const struct graph *usual, size_t i);
/* Whether another size may take another way. */
bool packs_has_other_ways(const struct packs *packs, const struct graph *g,
                          size_t i);
/* Bytes of the form, one of the last three; and the form made of the leader's
 * rows.  Filters that the gate refuses leave their place to direct panels. */
size_t packs_form_bytes(const struct packs *packs, const struct graph *g,
                        size_t i);
enum unstir_status packs_pack_form(const struct packs *packs, size_t i,
                                   unsigned char *to);
/* Point at a form that is there. */
void packs_point_form(struct op_pack *pack, struct weight_rows *rows,
                      const unsigned char *at);

#endif
