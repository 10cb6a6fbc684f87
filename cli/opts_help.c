/* opts_help.c - help text, manual page and completions from the tables.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "opts.h"
#include "opts_table.h"

#define COLUMN 26 /* where descriptions begin */
#define WIDTH  79

/* -- help ------------------------------------------------------------------ */

/* Words of `text` from column `at`, further lines from column `indent`. */
static void print_wrapped(FILE *out, const char *text, int at, int indent)
{
    int blanks = 0; /* before the next word, unless it begins a line */
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at + blanks + n > WIDTH && at > indent) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
            blanks = 0;
        }
        fprintf(out, "%*s%.*s", blanks, "", n, text);
        at += blanks + n;
        text += n;
        blanks = (int)strspn(text, " ");
        text += blanks;
    }
    fputc('\n', out);
}

static bool takes_value(const struct opt *o)
{
    return o->kind != OPT_FLAG;
}

/* Help, default and environment of one option as one text. */
static void describe(char *text, size_t size, const struct opt *o)
{
    int n = snprintf(text, size, "%s", o->help);
    const char *open = " (";
    const struct {
        const char *prefix, *value;
    } more[] = {{"default: ", o->fallback}, {"$", o->env}};
    for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++) {
        if (!more[i].value || n < 0 || (size_t)n >= size)
            continue;
        n += snprintf(text + n, size - (size_t)n, "%s%s%s", open,
                      more[i].prefix, more[i].value);
        open = "; ";
    }
    if (open[0] == ';' && n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, ")");
}

static void print_option(FILE *out, const struct opt *o)
{
    char text[600];
    int at;
    if (o->group)
        fprintf(out, "\n%s:\n", o->group);
    if (o->letter)
        at = fprintf(out, "  -%c, --%s", o->letter, o->name);
    else
        at = fprintf(out, "      --%s", o->name);
    if (takes_value(o))
        at += fprintf(out, " %s", o->meta);
    if (at > COLUMN - 2) {
        fputc('\n', out);
        at = 0;
    }
    fprintf(out, "%*s", COLUMN - at, "");
    describe(text, sizeof(text), o);
    print_wrapped(out, text, COLUMN, COLUMN);
}

/* Option i of a command, its own ones before those of every command. */
static bool option_at(const struct command *c, size_t i, struct opt *o)
{
    size_t n_own = c->n_options;
    if (c->describe) {
        if (c->describe(i, o))
            return true;
        for (n_own = 0; c->describe(n_own, o);)
            n_own++;
    }
    if (i >= n_own + opts_n_common(c))
        return false;
    *o = i < n_own ? c->options[i] : opts_common[i - n_own];
    return true;
}

static bool is_common(const struct opt *o)
{
    return strcmp(o->name, opts_common[0].name) == 0;
}

void opts_print_help(const struct command *c, FILE *out)
{
    struct opt o;
    fprintf(out, "unstir %s - %s\n\nusage: unstir %s %s\n", c->name, c->summary,
            c->name, c->synopsis);
    if (c->text) {
        fputc('\n', out);
        print_wrapped(out, c->text, 0, 0);
    }
    if (option_at(c, 0, &o) && !o.group)
        fputs("\nOptions:\n", out);
    for (size_t i = 0; option_at(c, i, &o); i++)
        print_option(out, &o);
    if (c->examples) {
        fputs("\nExamples:\n", out);
        for (const char *p = c->examples; *p;) {
            int n = (int)strcspn(p, "\n");
            fprintf(out, "  %.*s\n", n, p);
            p += n + (p[n] == '\n');
        }
    }
}

/* -- manual page ----------------------------------------------------------- */

/* Text for troff: backslashes and dashes escaped, no leading dot. */
static void print_roff(FILE *out, const char *text)
{
    bool is_line_start = true;
    for (const char *p = text; *p; p++) {
        if (is_line_start && (*p == '.' || *p == '\''))
            fputs("\\&", out);
        if (*p == '\\')
            fputs("\\e", out);
        else if (*p == '-')
            fputs("\\-", out);
        else
            fputc(*p, out);
        is_line_start = *p == '\n';
    }
}

static void print_man_option(FILE *out, const struct opt *o)
{
    char text[600];
    fputs(".TP\n", out);
    if (o->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", out);
    print_roff(out, o->name);
    fputs("\\fR", out);
    if (takes_value(o)) {
        fputs(" \\fI", out);
        print_roff(out, o->meta);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    describe(text, sizeof(text), o);
    print_roff(out, text);
    fputc('\n', out);
}

static void print_verbatim(FILE *out, const char *text)
{
    fputs(".nf\n", out);
    print_roff(out, text);
    fputs("\n.fi\n", out);
}

static void print_man_command(FILE *out, const struct command *c)
{
    fputs(".SS unstir ", out);
    print_roff(out, c->name);
    fputc('\n', out);
    print_roff(out, c->summary);
    fputs(".\n.PP\nunstir ", out);
    print_roff(out, c->name);
    fputc(' ', out);
    print_roff(out, c->synopsis);
    fputc('\n', out);
    if (c->text) {
        fputs(".PP\n", out);
        print_roff(out, c->text);
        fputc('\n', out);
    }
    struct opt o;
    for (size_t i = 0; option_at(c, i, &o) && !is_common(&o); i++)
        print_man_option(out, &o);
    if (c->examples) {
        fputs(".PP\nExamples:\n", out);
        print_verbatim(out, c->examples);
    }
}

void opts_print_man(const struct command *const *commands, size_t n, FILE *out)
{
    fputs(".TH UNSTIR 1\n.SH NAME\nunstir \\- pictures from noise by reverse "
          "diffusion\n.SH SYNOPSIS\n.B unstir\n.I command\n[options]\n"
          ".SH COMMANDS\n",
          out);
    for (size_t i = 0; i < n; i++)
        print_man_command(out, commands[i]);
    fputs(".SH OPTIONS OF EVERY COMMAND\n", out);
    for (size_t i = 0; i < OPTS_N_COMMON; i++)
        print_man_option(out, &opts_common[i]);
    fputs(".SH EXIT STATUS\n"
          ".TP\n0\ndone\n.TP\n1\nfailed while running\n"
          ".TP\n2\nwrong usage\n"
          ".TP\n3\na model or input file is damaged or not supported\n"
          ".TP\n4\nnot enough memory, or a limit reached\n"
          ".TP\n130\ninterrupted\n"
          ".SH ENVIRONMENT\n"
          "An option behind which a $NAME stands takes its value from that "
          "variable where it is not given.  UNSTIR_CACHE_DIR, else "
          "XDG_CACHE_HOME, is where packed weights are kept; UNSTIR_DATA "
          "where named sets of pictures are.  NO_COLOR is obeyed.\n",
          out);
}

/* -- completions ----------------------------------------------------------- */

static void print_words(FILE *out, const struct command *c)
{
    struct opt o;
    for (size_t i = 0; option_at(c, i, &o); i++)
        fprintf(out, " --%s", o.name);
}

static void print_bash(const struct command *const *commands, size_t n,
                       FILE *out)
{
    fputs("_unstir() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} words\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"",
          out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s%s", i > 0 ? " " : "", commands[i]->name);
    fputs(" help\"\n    else\n        case ${COMP_WORDS[1]} in\n", out);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "        %s) words=\"", commands[i]->name);
        print_words(out, commands[i]);
        fputs("\" ;;\n", out);
    }
    fputs("        esac\n    fi\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "}\ncomplete -o default -F _unstir unstir\n",
          out);
}

static void print_fish_option(FILE *out, const char *command,
                              const struct opt *o)
{
    fprintf(out, "complete -c unstir -n '__fish_seen_subcommand_from %s' -l %s",
            command, o->name);
    if (o->letter)
        fprintf(out, " -s %c", o->letter);
    if (takes_value(o))
        fputs(" -r", out);
    fputs(" -d \"", out);
    for (const char *p = o->help; *p; p++) {
        if (strchr("\"\\$", *p))
            fputc('\\', out);
        fputc(*p, out);
    }
    fputs("\"\n", out);
}

static void print_fish(const struct command *const *commands, size_t n,
                       FILE *out)
{
    for (size_t i = 0; i < n; i++) {
        const struct command *c = commands[i];
        fprintf(out,
                "complete -c unstir -n __fish_use_subcommand -a %s -d \"%s\"\n",
                c->name, c->summary);
        struct opt o;
        for (size_t k = 0; option_at(c, k, &o); k++)
            print_fish_option(out, c->name, &o);
    }
}

bool opts_print_completion(const struct command *const *commands, size_t n,
                           const char *shell, FILE *out)
{
    if (strcmp(shell, "zsh") == 0) /* zsh runs bash's completions */
        fputs("#compdef unstir\nautoload -U +X bashcompinit && "
              "bashcompinit\n",
              out);
    if (strcmp(shell, "bash") == 0 || strcmp(shell, "zsh") == 0)
        print_bash(commands, n, out);
    else if (strcmp(shell, "fish") == 0)
        print_fish(commands, n, out);
    else
        return false;
    return true;
}
