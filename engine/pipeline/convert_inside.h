/* convert_inside.h - shared by convert.c, which reads, and convert_write.c,
 * which it calls.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_CONVERT_INSIDE_H
#define PIPELINE_CONVERT_INSIDE_H

#include <stdbool.h>

#include "format/lora.h"
#include "format/single_file.h"
#include "pipeline/companion.h"
#include "pipeline/convert.h"
#include "pipeline/model_parts.h"
#include "tensor/dtype.h"

#define CONVERT_MAX_LORAS    16
#define CONVERT_CONFIG_BYTES (64u << 20) /* a tokenizer.json has megabytes   */

struct json;
struct json_writer;
struct weights;

struct conversion_part {
    struct weights *opened;  /* ours, or NULL                                */
    struct weights *derived; /* with LoRAs, or NULL                          */
    const struct weights *weights;
    char *config; /* text                                                    */
    bool is_given;
};

struct conversion {
    const struct unstir_convert_options *options;
    bool has_dtype;
    enum dtype dtype;
    bool is_from_file, is_to_file;
    bool has_root; /* the input folder is the network's own                  */
    enum single_file_kind kind;
    const char *title;       /* of the input, if it says of few steps; NULL  */
    bool has_original_names; /* the tensors of a single file                 */
    struct single_file file; /* if is_from_file                              */
    struct model_parts given;
    /* unstir.json of the input and its parts; where the output's will be.   */
    struct json *companion;
    struct companion_parts *companion_parts;
    char companion_from[PATH_BYTES];
    char companion_to[PATH_BYTES];
    struct json *index; /* of an input folder; NULL: none                    */
    struct conversion_part parts[SINGLE_FILE_PARTS];
    struct lora loras[CONVERT_MAX_LORAS];
    size_t n_loras;
    size_t n_inversions;    /* files in embeddings/ of the input             */
    bool has_left_words;    /* they were not copied                          */
    const char *prediction; /* for the metadata of a single file, or NULL    */
    struct json *scheduler;
    uint64_t done_bytes, told_bytes, total_bytes; /* of weights, written     */
    struct json_writer *report;
};

/* Whether the caller wants it to go on. */
bool convert_goes_on(const struct conversion *c);

/* The weights' file in a part's folder, without extension. */
const char *convert_stem(enum single_file_part_id part);

/* A component of a pipeline that no picture needs. */
bool convert_leaves_out(const char *component);

/* *text is the caller's, to be ended by alloc_free(). */
enum unstir_status convert_json_to_text(char **text, const struct json *v,
                                        struct unstir_error *err);

/* The output. */
enum unstir_status convert_write(struct conversion *c,
                                 struct unstir_error *err);

#endif
