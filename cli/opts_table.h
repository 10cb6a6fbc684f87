/* opts_table.h - the options that every command has, for opts*.c only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPTS_TABLE_H
#define OPTS_TABLE_H

#include "opts.h"

/* The last one is --json, of commands with has_json. */
#define OPTS_N_COMMON 5
extern const struct opt opts_common[OPTS_N_COMMON];

/* How many of them a command has: the first ones. */
size_t opts_n_common(const struct command *c);

#endif
