/* opts_table.c - the options that every command has.
 *
 * SPDX-License-Identifier: MIT
 */
#include "opts_table.h"

static const char *const progress_names[] = {"none", "bar", "json", NULL};

const struct opt opts_common[OPTS_N_COMMON] = {
    {.name = "help",
     .letter = 'h',
     .kind = OPT_FLAG,
     .help = "this text",
     .group = "Every command"},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPT_FLAG,
     .help = "results and errors only"},
    {.name = "verbose", .letter = 'v', .kind = OPT_FLAG, .help = "say more"},
    {.name = "progress",
     .kind = OPT_CHOICE,
     .meta = "none|bar|json",
     .choices = progress_names,
     .fallback = "bar on a terminal",
     .help = "progress on stderr"},
    {.name = "json", .kind = OPT_FLAG, .help = "one JSON object on stdout"},
};

/* Of those with another table --help alone, which is the first. */
size_t opts_n_common(const struct command *c)
{
    if (c->describe)
        return 1;
    return c->has_json ? OPTS_N_COMMON : OPTS_N_COMMON - 1;
}
