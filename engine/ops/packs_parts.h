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
    bool is_in_place;         /* big: products read their weights as rows    */
    struct packs_stored *stored; /* of such weights; data NULL: not read     */
    struct weight_rows *rows;    /* by leader                                */
    struct weight_piece *pieces; /* one each operation, by leaders           */
    const unsigned char *image;
    size_t bytes;
    void *own;          /* the image, if it was packed here                  */
    struct mapfile map; /* else the file around it                           */
};

/* -- packs_place.c --------------------------------------------------------- */

/* Whose product each operation's is; first of all. */
void packs_join(struct packs *packs, const struct graph *g);

/* On which operands the leaders work.  Without parameters the gates count as
 * passed. */
enum unstir_status packs_choose(struct packs *packs, const struct graph *g,
                                bool has_params, struct unstir_error *err);

/* Where all of them lie: in the image, or as they are stored. */
enum unstir_status packs_place(struct packs *packs, const struct graph *g,
                               const struct packs_params *params,
                               struct unstir_error *err);

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
/* The floats of a parameter, loaded if need be: *own is alloc_free()d. */
enum unstir_status packs_values(const struct packs *packs, param_id p,
                                const float **values, float **own);
/* Where the packings of a leader begin; PACK_NOWHERE: it has none; and how many
 * bytes of the image they are. */
size_t packs_start(const struct op_pack *pack);
size_t packs_image_bytes(const struct packs *packs, size_t i);
/* Forget what plans will not read. */
void packs_drop_packed(struct packs *packs, const struct graph *g);

#endif
