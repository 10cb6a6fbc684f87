/* opts_parts.h - the options that give a model parts from elsewhere, the same
 * for every command.
 *
 * Rows of a command's table.  The command defines FIELD(name) as for its own
 * rows, and has the fields vae and text_encoders.  otherwise: what is taken if
 * they are not given.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPTS_PARTS_H
#define OPTS_PARTS_H

#include "cli.h"
#include "opts.h"
#include "unstir.h"

/* Of commands that follow a model's unstir.json. */
#define OPTS_PARTS_OPENED "as unstir.json says, else the model's own"

#define OPTS_PARTS(title, otherwise)                                       \
    {.group = title,                                                       \
     .name = "vae",                                                        \
     .kind = OPT_TEXT,                                                     \
     .meta = "FILE|DIR",                                                   \
     .fallback = otherwise,                                                \
     FIELD(vae),                                                           \
     .help = "autoencoder in place of the model's own, or that it lacks"}, \
    {                                                                      \
        .name = "text-encoder", .kind = OPT_LIST, .meta = "FILE|DIR",      \
        .fallback = "as --vae", FIELD(text_encoders),                      \
        .help = "the same of its text encoder; twice for models with two"  \
    }

/* Into a model's options; else the exit code, with the error printed. */
static inline int opts_parts(struct unstir_model_options *o, const char *vae,
                             const struct opt_list *texts)
{
    if (texts->n > 2) {
        cli_error("--text-encoder: given %zu times; no model has more than 2",
                  texts->n);
        return CLI_USAGE;
    }
    o->vae = vae;
    for (size_t i = 0; i < texts->n; i++)
        o->text_encoders[i] = texts->items[i];
    return CLI_OK;
}

#endif
