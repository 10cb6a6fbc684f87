/* checkpoint_source.h - a model on disk, folder or single file, as parts.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_CHECKPOINT_SOURCE_H
#define PIPELINE_CHECKPOINT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "format/diffusers_folder.h"
#include "format/single_file.h"
#include "pipeline/conditioning.h"
#include "pipeline/model_parts.h"
#include "text/inversion.h"

struct checkpoint_parts;
struct late_digest;

struct checkpoint_source {
    char name[128]; /* of the folder or file, as an id       */
    bool is_file;
    struct diffusers_folder folder; /* zeroed if is_file                     */
    struct single_file file;        /* zeroed if not                         */
    struct json *unstir;            /* beside a file; NULL: none             */
    struct model_parts given;       /* from elsewhere                        */
    struct {
        char *config, *weights;
    } names[SINGLE_FILE_PARTS]; /* in errors                                 */
    char *scheduler_name, *unstir_name;
    struct bpe *tokenizers[CONDITIONING_ENCODERS];
    struct inversions inversions; /* of embeddings/ in the folder, or beside
                                     the file                                */
    struct late_digest *late;     /* over all parts, started               */
    char digest[65];              /* its digits, once it is settled        */
    const char *pipeline;         /* class; "" if nothing says             */
    size_t file_bytes;            /* of weights                            */
    struct notes notes; /* the folder's or the file's own, borrowed  */
};

struct checkpoint_source_options {
    bool allows_no_weights;      /* of folders                               */
    const char *merges_path;     /* of the standard tokenizer, for files     */
    const char *prediction_type; /* of files; NULL: found out                */
    const char *cache;           /* as unstir_model_options.pack_cache       */
    struct model_parts_wish parts; /* before what unstir.json says           */
};

/* Files are listed, not read through: the digest is left running beside what
 * the caller does.  On failure there is nothing to close. */
enum unstir_status
checkpoint_source_open(struct checkpoint_source *s, const char *path,
                       const struct checkpoint_source_options *options,
                       struct unstir_error *err);
void checkpoint_source_close(struct checkpoint_source *s);

/* Wait for the digest; s->digest holds it then. */
enum unstir_status checkpoint_source_settle(struct checkpoint_source *s,
                                            struct unstir_error *err);
/* Let who waits for it go, with an error, unless it is there already: what was
 * opened comes to nothing. */
void checkpoint_source_stop(const struct checkpoint_source *s);

/* Weights were packed: pages of their files need not stay in memory. */
void checkpoint_source_forget(const struct checkpoint_source *s);

/* Borrowed from s. */
struct checkpoint_parts
checkpoint_source_parts(const struct checkpoint_source *s);

#endif
