/* version.c - `unstir version`: version, build, kernels this CPU can run.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

struct version_values {
    struct opts_common common;
};

static const char *compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}

static const char *architecture(void)
{
#if defined(__x86_64__)
    return "x86-64";
#elif defined(__aarch64__)
    return "aarch64";
#else
    return "other";
#endif
}

/* "a,b" as ["a","b"] */
static void print_list(const char *list)
{
    putchar('[');
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ", ");
        printf("%s\"%.*s\"", p > list ? "," : "", (int)n, p);
        p += n;
        p += strspn(p, ", ");
    }
    putchar(']');
}

static int version_main(int argc, char **argv)
{
    struct version_values v = {0};
    int rc = opts_parse(&command_version, argc, argv, &v);
    if (rc != OPTS_GO_ON)
        return rc;
    const char *rungs = unstir_cpu_rungs();
    if (!v.common.is_json) {
        printf("unstir " UNSTIR_VERSION "\nbuilt with %s for %s\nkernels this "
               "CPU can run: %s\n",
               compiler(), architecture(), rungs);
        return CLI_OK;
    }
    printf("{\"version\":\"" UNSTIR_VERSION "\",\"compiler\":");
    cli_json_string(stdout, compiler());
    printf(",\"architecture\":\"%s\",\"kernels\":", architecture());
    print_list(rungs);
    puts("}");
    return CLI_OK;
}

const struct command command_version = {
    .name = "version",
    .summary = "version, build, kernels this CPU can run",
    .synopsis = "[--json]",
    .examples = "unstir version\nunstir version --json | jq -r .kernels[0]\n",
    .has_json = true,
    .main = version_main,
};
