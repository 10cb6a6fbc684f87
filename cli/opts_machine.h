/* opts_machine.h - the options about the machine, the same for every command.
 *
 * Rows of a command's table.  The command defines FIELD(name) and `precisions`
 * as for its own rows, and has the fields precision, threads, pin, isa and
 * pack_cache.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPTS_MACHINE_H
#define OPTS_MACHINE_H

#include <string.h>

#include "unstir.h"

/* NULL: not given. */
static inline enum unstir_precision opts_precision(const char *word)
{
    return word && strcmp(word, "f32") == 0    ? UNSTIR_PRECISION_F32
           : word && strcmp(word, "bf16") == 0 ? UNSTIR_PRECISION_BF16
           : word && strcmp(word, "int8") == 0 ? UNSTIR_PRECISION_INT8
                                               : UNSTIR_PRECISION_AUTO;
}

static const char *const opts_pins[] = {"auto", "on", "off", NULL};

/* NULL: not given. */
static inline enum unstir_pin opts_pin(const char *word)
{
    return word && strcmp(word, "on") == 0    ? UNSTIR_PIN_ON
           : word && strcmp(word, "off") == 0 ? UNSTIR_PIN_OFF
                                              : UNSTIR_PIN_AUTO;
}

#define OPTS_MACHINE(title)                                                   \
    {.group = title,                                                          \
     .name = "precision",                                                     \
     .kind = OPT_CHOICE,                                                      \
     .meta = "auto|f32|bf16|int8",                                            \
     .env = "UNSTIR_PRECISION",                                               \
     .choices = precisions,                                                   \
     .fallback = "auto",                                                      \
     FIELD(precision),                                                        \
     .help = "of the arithmetic"},                                            \
        {.name = "threads",                                                   \
         .kind = OPT_U32,                                                     \
         .meta = "N",                                                         \
         .env = "UNSTIR_THREADS",                                             \
         .min = 0,                                                            \
         .max = 64,                                                           \
         .fallback = "0: one a core",                                         \
         FIELD(threads),                                                      \
         .help = "computing threads"},                                        \
        {.name = "pin",                                                       \
         .kind = OPT_CHOICE,                                                  \
         .meta = "auto|on|off",                                               \
         .env = "UNSTIR_PIN",                                                 \
         .choices = opts_pins,                                                \
         .fallback = "auto: if there is a thread a core",                     \
         FIELD(pin),                                                          \
         .help = "keep each thread on a core of its own"},                    \
        {.name = "pack-cache",                                                \
         .kind = OPT_TEXT,                                                    \
         .meta = "auto|none|DIR",                                             \
         .env = "UNSTIR_PACK_CACHE",                                          \
         .fallback = "auto: unstir's folder in the user's cache",             \
         FIELD(pack_cache),                                                   \
         .help = "keep packed weights there for the next start"},             \
    {                                                                         \
        .name = "isa", .kind = OPT_TEXT, .meta = "NAME", .env = "UNSTIR_ISA", \
        .fallback = "the best of this CPU", FIELD(isa),                       \
        .help = "kernels to use (unstir version lists them)"                  \
    }

#endif
