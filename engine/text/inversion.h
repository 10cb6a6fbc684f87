/* inversion.h - textual inversion: words whose vectors come from a file.
 *
 * A safetensors file of one of these forms:
 *
 *     "<name>" [c] or [n][c]       the reference's learned_embeds; the tensor's
 *                                  name is the word
 *     "emb_params" [n][c]          the webui's; the file's name is the word
 *     "clip_l" [n][c], "clip_g"    the same for the two encoders of SDXL
 *
 * The reference's and the webui's older files (.bin, .pt) are pickle files and
 * refused (format/pickle.h).
 *
 * A word found in a prompt (whole, in any case of ASCII letters) stands for
 * its n vectors.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEXT_INVERSION_H
#define TEXT_INVERSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/path.h"

#define INVERSION_MAX          256u
#define INVERSION_MAX_VECTORS  75u /* of one word: a piece of a prompt      */
#define INVERSION_MAX_CHANNELS 8192u
#define INVERSION_ENCODERS     2

struct inversion {
    char *name;
    uint32_t n_vectors;
    uint32_t first; /* row of the first vector, over the whole set           */
    /* Of each encoder, [n_vectors][channels]; NULL if the file has none.   */
    float *vectors[INVERSION_ENCODERS];
    uint32_t channels[INVERSION_ENCODERS];
};

struct inversions {
    struct inversion *list;
    size_t n, capacity;
    uint32_t n_rows;
};

enum unstir_status inversions_open(struct inversions *set, const char *path,
                                   struct unstir_error *err);
/* All .safetensors files of a folder, in the order of their names; a folder
 * that is not there has none, and one with a pickle file is
 * UNSTIR_ERR_UNSUPPORTED. */
enum unstir_status inversions_open_folder(struct inversions *set,
                                          const char *folder,
                                          struct unstir_error *err);
void inversions_fini(struct inversions *set);

/* Where those of a model lie: embeddings/ in its folder or beside its file. */
enum unstir_status inversions_find(char folder[PATH_BYTES], const char *model,
                                   bool is_file, struct unstir_error *err);

/* How many files the folder has; 0 if it is not there. */
enum unstir_status inversions_count(size_t *n, const char *folder,
                                    struct unstir_error *err);

/* Copy them; `to` is made if there is any. */
enum unstir_status inversions_copy(size_t *n, const char *to,
                                   const char *folder,
                                   struct unstir_error *err);

/* The vector of a row for an encoder of that width. */
enum unstir_status inversions_row(const struct inversions *set,
                                  const float **vector, uint32_t row,
                                  unsigned encoder, uint32_t channels,
                                  struct unstir_error *err);

#endif
