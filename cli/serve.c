/* serve.c - `unstir serve`: the HTTP service, which has its own table of
 * options together with environment and file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli.h"
#include "commands.h"
#include "server.h"

static int serve_main(int argc, char **argv)
{
    return server_main(argc - 1, argv + 1);
}

const struct command command_serve = {
    .name = "serve",
    .summary = "the HTTP service",
    .synopsis = "[-m MODEL ...] [options]",
    .examples = "unstir serve -m models/fashion\n",
    .main = serve_main,
    .print_help = server_print_help,
};
