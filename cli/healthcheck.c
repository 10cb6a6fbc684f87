/* healthcheck.c - `unstir healthcheck`: is the service ready?
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "server.h"

struct healthcheck_values {
    struct opts_common common;
    uint32_t timeout_ms;
};

static const struct opt options[] = {
    {.name = "timeout-ms",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = 600000,
     .fallback = "3000",
     .offset = offsetof(struct healthcheck_values, timeout_ms),
     .help = "how long to wait for an answer"},
};

static int healthcheck_main(int argc, char **argv)
{
    struct healthcheck_values v = {.timeout_ms = 3000};
    int rc = opts_parse(&command_healthcheck, argc, argv, &v);
    if (rc != OPTS_GO_ON)
        return rc;
    const char *url = v.common.n_operands > 0 ? v.common.operands[0] : NULL;
    if (url && strncmp(url, "http://", 7) != 0) {
        cli_error("%s: must begin with http://", url);
        return CLI_USAGE;
    }
    return server_healthcheck(url, (int)v.timeout_ms);
}

const struct command command_healthcheck = {
    .name = "healthcheck",
    .summary = "exit 0 when the service is ready (for containers)",
    .synopsis = "[options] [URL]",
    .text = "URL is http://HOST:PORT/health/ready; without it, the address of "
            "UNSTIR_LISTEN, else 127.0.0.1:8080.",
    .examples = "unstir healthcheck\n"
                "unstir healthcheck http://127.0.0.1:9000/health/ready\n",
    .options = options,
    .n_options = sizeof(options) / sizeof(*options),
    .max_operands = 1,
    .main = healthcheck_main,
};
