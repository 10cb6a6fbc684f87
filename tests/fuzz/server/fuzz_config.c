/* fuzz_config.c - configuration files: what is accepted reads back the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server_fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

static char *printed(const struct config *config, size_t *n)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, n);

    if (!out)
        return NULL;
    config_print(config, out);
    (void)fclose(out);
    return text;
}

void fuzz_config(const uint8_t *bytes, size_t n)
{
    struct config first;
    struct config second;
    char why[512] = "";
    char *text = NULL;
    char *again = NULL;
    size_t n_text = 0;
    size_t n_again = 0;

    config_defaults(&first);
    config_defaults(&second);
    if (config_parse(&first, (const char *)bytes, n, "file", why, sizeof why) ==
        CONFIG_OK) {
        text = printed(&first, &n_text);
        if (config_parse(&second, text, n_text, "again", why, sizeof why) !=
            CONFIG_OK)
            abort();
        again = printed(&second, &n_again);
        if (n_text != n_again || memcmp(text, again, n_text) != 0)
            abort();
    } else if (!*why) {
        abort();
    }
    free(text);
    free(again);
    config_fini(&first);
    config_fini(&second);
}

FUZZ_ENTRY(fuzz_config)
