/* weights_build.h - how the readers of this folder put a struct weights
 * together: tensors are added, names changed, files merged, then it is
 * sealed: sorted by name, for good.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_WEIGHTS_BUILD_H
#define FORMAT_WEIGHTS_BUILD_H

#include "base/mapfile.h"
#include "format/weights.h"

struct json;

/* One file: its bytes and its header, which owns the tensors' names; or a
 * block of memory. */
struct weights_source {
    struct mapfile map; /* empty for memory of the caller's                  */
    struct json *header;
    void *block; /* of alloc_aligned(), for tensors that stand in no file    */
};

struct weights {
    struct tensor_view *views;
    size_t n, capacity;
    struct weights_source *sources;
    size_t n_sources, sources_capacity;
    char **names; /* changed ones                                            */
    size_t n_names, names_capacity;
    const struct weights *lender; /* whose sources the views are of, or NULL */
};

enum unstir_status weights_new(struct weights **out, struct unstir_error *err);

enum unstir_status weights_add(struct weights *w,
                               const struct tensor_view *view,
                               struct unstir_error *err);

/* Takes over the map, the header and the block, also on failure. */
enum unstir_status weights_add_source(struct weights *w,
                                      struct weights_source *source,
                                      struct unstir_error *err);

/* The block that begins at `data`, for the caller to alloc_free(); its tensors
 * are read there as long as it keeps it.  NULL: no block of w's does. */
void *weights_take_block(struct weights *w, const void *data);

/* The reader of one format: add the tensors of n bytes to the empty w and seal
 * it.  *header (NULL before) gets the document whose metadata
 * weights_metadata() reads; it may own the tensors' names and belongs to the
 * caller, also on failure.  `name` is for errors. */
typedef enum unstir_status (*weights_read_fn)(
    struct weights *w, struct json **header, const char *name,
    const unsigned char *bytes, size_t n_bytes, struct unstir_error *err);

/* A mapped file, or memory that must outlive *out. */
enum unstir_status weights_open_as(struct weights **out, const char *path,
                                   weights_read_fn read,
                                   struct unstir_error *err);
enum unstir_status weights_parse_as(struct weights **out, const void *bytes,
                                    size_t n_bytes, const char *name,
                                    weights_read_fn read,
                                    struct unstir_error *err);

/* Move everything of `from` to the end of w; `from` is ended in any case. */
enum unstir_status weights_merge(struct weights *w, struct weights *from,
                                 struct unstir_error *err);

enum unstir_status weights_rename(struct weights *w, size_t i, const char *name,
                                  struct unstir_error *err);

/* Forget tensor i; the order of the others changes. */
void weights_drop(struct weights *w, size_t i);

/* Sort by name; two tensors of one name are UNSTIR_ERR_FORMAT. */
enum unstir_status weights_seal(struct weights *w, struct unstir_error *err);

#endif
