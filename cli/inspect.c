/* inspect.c - `unstir inspect`: what a checkpoint is and what it needs.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "opts_parts.h"

struct inspect_values {
    struct opts_common common;
    bool wants_tensors;
    const char *vae;
    struct opt_list text_encoders;
};

#define FIELD(name) .offset = offsetof(struct inspect_values, name)

static const struct opt options[] = {
    {.name = "tensors",
     .kind = OPT_FLAG,
     FIELD(wants_tensors),
     .help = "list every tensor with type and shape"},
    OPTS_PARTS("Parts of the model", OPTS_PARTS_OPENED),
};

/* Indented JSON reads well without its punctuation: "key: value" lines. */
static void print_plainly(const char *json)
{
    for (const char *line = json; *line;) {
        size_t n = strcspn(line, "\n");
        size_t blanks = strspn(line, " ");
        const char *text = line + blanks;
        size_t length = n - blanks;
        while (length > 0 && strchr(",[{", text[length - 1]))
            length--;
        bool is_closing = length > 0 && strchr("]}", text[0]);
        if (length > 0 && !is_closing && blanks >= 2) {
            printf("%*s", (int)blanks - 2, "");
            while (text[length - 1] == ' ')
                length--;
            for (const char *p = text; p < text + length;)
                p = *p == '"' ? p + 1 : cli_print_json_char(p);
            putchar('\n');
        }
        line += n + (line[n] == '\n');
    }
}

static int inspect_main(int argc, char **argv)
{
    struct inspect_values v = {0};
    struct unstir_error err = {0};
    struct unstir_model_options o = {
        .pack_cache = "auto",
        .merges_path = cli_shared_file("clip-bpe/merges.txt")};
    const char *path;
    char *json;
    int rc = opts_parse(&command_inspect, argc, argv, &v);
    if (rc != OPTS_GO_ON)
        return rc;
    rc = opts_parts(&o, v.vae, &v.text_encoders);
    if (rc == CLI_OK)
        rc = cli_find_model(&path, v.common.operands[0]);
    if (rc != CLI_OK)
        return rc;
    if (unstir_inspect(path, &o, v.wants_tensors, &json, &err) != UNSTIR_OK)
        return cli_fail(&err);
    if (v.common.is_json)
        fputs(json, stdout);
    else
        print_plainly(json);
    unstir_free(json);
    return CLI_OK;
}

const struct command command_inspect = {
    .name = "inspect",
    .summary = "what a checkpoint is and what it needs",
    .synopsis = "[--json] [--tensors] MODEL",
    .text = "Reads headers and configuration only: never runs the network, "
            "never trusts the file.",
    .examples = "unstir inspect models/fashion\n"
                "unstir inspect models/fashion --json | jq .parameters\n",
    .options = options,
    .n_options = sizeof(options) / sizeof(*options),
    .min_operands = 1,
    .max_operands = 1,
    .has_json = true,
    .main = inspect_main,
};
