/* serve.c - `unstir serve`: the HTTP service, which has its own table of
 * options together with environment and file.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "server.h"

static bool describe(size_t i, struct opt *o)
{
    static struct server_option row;
    if (!server_describe(i, &row))
        return false;
    *o = (struct opt){.name = row.flag,
                      .letter = strcmp(row.flag, "model") == 0 ? 'm' : 0,
                      .kind = *row.form ? OPT_TEXT : OPT_FLAG,
                      .meta = row.form,
                      .env = row.env,
                      .fallback = *row.fallback ? row.fallback : NULL,
                      .help = row.text,
                      .group = row.group};
    return true;
}

static int serve_main(int argc, char **argv)
{
    int rc = server_main(argc - 1, argv + 1);
    if (rc != SERVER_HELP)
        return rc;
    opts_print_help(&command_serve, stdout);
    return CLI_OK;
}

const struct command command_serve = {
    .name = "serve",
    .summary = "the HTTP service",
    .synopsis = "[-m MODEL ...] [options]",
    .text = "POST /generate makes a picture, GET / is a page to do it in a "
            "browser.  What is given on the command line comes before the "
            "environment, that before a file (--config; --print-config writes "
            "one).  Sizes take KiB, MiB and GiB, times ms, s, min and h; a "
            "switch that is on is turned off by --no-NAME.",
    .examples = "unstir serve\n"
                "unstir serve -m models/fashion --listen 127.0.0.1:8080\n"
                "unstir serve -m sd15.safetensors --lora-dir loras\n"
                "unstir serve --listen unix:/run/unstir.sock\n",
    .main = serve_main,
    .describe = describe,
};
