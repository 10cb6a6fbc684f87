/* single_file_names.h - original names of tensors to those of the diffusers
 * layout.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_SINGLE_FILE_NAMES_H
#define FORMAT_SINGLE_FILE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "format/single_file.h"

#define SINGLE_FILE_NAME_BYTES 640

/* What names depend on beside themselves. */
struct single_file_layout {
    enum single_file_kind kind;
    /* Names without the prefix of any part are those of this one; PARTS: there
     * are none. */
    enum single_file_part_id bare;
    bool is_bare_open_clip; /* of a bare text encoder                        */
    unsigned unet_layers;   /* residual blocks of a level on the way down    */
    unsigned vae_levels;
};

/* The part that a name's prefix says, `rest` behind it; PARTS: none. */
enum single_file_part_id single_file_part_of(const char *name,
                                             const char **rest);

enum single_file_change {
    CHANGE_NONE,
    CHANGE_SPLIT_QKV, /* rows in three equal parts; the name has "%c_proj"   */
    CHANGE_TRANSPOSE,
    CHANGE_SQUEEZE /* a 1x1 convolution that is a linear layer               */
};

struct single_file_target {
    enum single_file_part_id part;
    enum single_file_change change;
    char name[SINGLE_FILE_NAME_BYTES];
};

/* false: the tensor belongs to no part. */
bool single_file_target(struct single_file_target *out, const char *name,
                        const struct single_file_layout *layout);

/* Beginnings of names, original and of the diffusers layout.  Where several
 * originals have one name, the first is what is written. */
struct single_file_renaming {
    const char *old, *new;
};
struct single_file_renamings {
    const struct single_file_renaming *rows;
    size_t n;
};
extern const struct single_file_renamings single_file_unet_names,
    single_file_resnet_names, single_file_vae_attention_names,
    single_file_open_clip_names, single_file_open_clip_layer_names;

/* `prefix` and the new (to_old: the original) form of `name`; false: it begins
 * with none of the table's. */
bool single_file_rename(char out[SINGLE_FILE_NAME_BYTES], const char *prefix,
                        const char *name,
                        const struct single_file_renamings *table, bool to_old);

/* The number at *text, which moves behind it; false if there is none or it has
 * more than three digits. */
bool single_file_number(const char **text, unsigned *out);

#endif
