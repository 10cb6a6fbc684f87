/* opts_table.h - the options that every command has, for opts*.c only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPTS_TABLE_H
#define OPTS_TABLE_H

#include "opts.h"

/* The last one is --json, of commands with has_json. */
extern const struct opt opts_common_table[];
extern const size_t opts_n_common;

#endif
