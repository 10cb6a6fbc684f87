/* main.c - the program `unstir`: finds the command and runs it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

static const struct command *const commands[] = {
    &command_serve, &command_generate,    &command_train,
    &command_noise, &command_inspect,     &command_convert,
    &command_bench, &command_healthcheck, &command_version,
};
#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

static void print_overview(FILE *out)
{
    fputs("unstir - pictures from noise by reverse diffusion\n\n"
          "usage: unstir COMMAND [options]\n\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fputs(
        "\nExamples:\n"
        "  unstir generate -p sneaker -o sneaker.png\n"
        "  unstir serve                      then open http://127.0.0.1:8080\n"
        "  unstir serve -m sd15.safetensors  your own model\n"
        "\nunstir help COMMAND, or unstir COMMAND --help, lists its "
        "options.\n"
        "unstir help --man prints the manual page, unstir help --completion\n"
        "bash|zsh|fish a completion script.\n",
        out);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[N_COMMANDS];
    if (name[0] == '-') {
        cli_error("%.80s: unknown option; a command comes first (unstir --help "
                  "lists them)",
                  name);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i]->name;
    return opts_unknown_value("command", name, names, N_COMMANDS);
}

/* unstir help [COMMAND | --man | --completion SHELL] */
static int help_main(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--man") == 0) {
        opts_print_man(commands, N_COMMANDS, stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--completion") == 0) {
        static const char *const shells[] = {"bash", "zsh", "fish"};
        const char *shell = argc > 2 ? argv[2] : "bash";
        if (opts_print_completion(commands, N_COMMANDS, shell, stdout))
            return CLI_OK;
        return opts_unknown_value("--completion", shell, shells, 3);
    }
    const struct command *c = find(argv[1]);
    if (!c)
        return unknown_command(argv[1]);
    opts_print_help(c, stdout);
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    if (strcmp(name, "help") == 0)
        return help_main(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_overview(stdout);
        return CLI_OK;
    }
    const struct command *c =
        find(strcmp(name, "--version") == 0 ? "version" : name);
    return c ? c->main(argc - 1, argv + 1) : unknown_command(name);
}

int main(int argc, char **argv)
{
    int rc = run(argc, argv);
    /* A full disk behind stdout is a failure, not silence. */
    if (fflush(stdout) != 0 && rc == CLI_OK) {
        cli_error("stdout: cannot write");
        rc = CLI_FAILED;
    }
    return rc;
}
