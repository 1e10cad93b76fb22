/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help: --help of the whole and of each command, and the manual page, all from the rows of main.c.
 */
#include "runtime/tools/troupe/cli.h"

#include <string.h>

static const struct {
    int code;
    const char *sentence;
} exit_codes[] = {
    {EXIT_CODE_OK, "done"},
    {EXIT_CODE_FAILED, "it failed, for the reason said on standard error"},
    {EXIT_CODE_USAGE, "the command line is wrong"},
    {EXIT_CODE_NOT_FOUND, "there is no such node, model or instance, or no node runs (stop)"},
    {EXIT_CODE_UNREACHABLE, "the node, or a leader, cannot be reached"},
    {EXIT_CODE_NOT_ADMITTED, "not admitted: a used or expired token, a right that is missing"},
    {EXIT_CODE_NO_CAPACITY, "not enough memory for the model"},
    {EXIT_CODE_CONFIGURATION, "a setting, port or directory must be changed first"},
    {EXIT_CODE_INTERRUPTED, "interrupted"},
};

static const char common_text[] =
    "  --home DIR          the node's directory; else TROUPE_HOME, or the user's own node\n"
    "  --connect FILE      a node elsewhere, by the file that troupe client add wrote\n"
    "  --json              one JSON document, or JSON lines for what goes on\n"
    "  --help              this text\n";

static void print_options(FILE *stream, const struct option_row *rows)
{
    for (size_t i = 0; rows && rows[i].name; i++) {
        char flag[64];
        (void)snprintf(flag, sizeof(flag), "--%s%s%s", rows[i].name, rows[i].value ? " " : "",
                       rows[i].value ? rows[i].value : "");
        (void)fprintf(stream, "  %-18s  %s\n", flag, rows[i].sentence);
    }
}

void print_command_help(FILE *stream, const struct command *command)
{
    (void)fprintf(stream, "usage: troupe %s%s%s%s\n\n%c%s.\n", command->name,
                  command->arguments[0] ? " " : "", command->arguments,
                  " [OPTION]...", command->sentence[0] - 'a' + 'A', command->sentence + 1);
    if (command->details)
        (void)fprintf(stream, "%s\n", command->details);
    (void)fputs("\noptions\n", stream);
    print_options(stream, command->options);
    (void)fputs(common_text, stream);
    (void)fputs("\nexit codes: see troupe --help\n", stream);
}

void print_help(FILE *stream)
{
    size_t count = 0;
    const struct command *rows = command_rows(&count);
    (void)fputs("usage: troupe COMMAND [ARGUMENT]... [OPTION]...\n\n"
                "Runs large language models on the machines you own, together.\n\ncommands\n",
                stream);
    for (size_t i = 0; i < count; i++) {
        char usage[64];
        (void)snprintf(usage, sizeof(usage), "%s%s%s", rows[i].name,
                       rows[i].arguments[0] ? " " : "", rows[i].arguments);
        (void)fprintf(stream, "  %-22s  %s\n", usage, rows[i].sentence);
    }
    (void)fputs("\noptions of all commands\n", stream);
    (void)fputs(common_text, stream);
    (void)fputs("\nexit codes\n", stream);
    for (size_t i = 0; i < COUNT_OF(exit_codes); i++)
        (void)fprintf(stream, "  %3d  %s\n", exit_codes[i].code, exit_codes[i].sentence);
    (void)fputs("\nexample\n"
                "  first machine:   troupe up; troupe add ~/models/qwen3; troupe token\n"
                "  second machine:  troupe join, and paste the token\n"
                "  any of them:     troupe run qwen3 \"What is the capital of France?\"\n"
                "\ntroupe COMMAND --help says more.\n",
                stream);
}

/* ---- the manual page ---- */

/* Text for roff: a dash is a minus sign, a leading dot is no request. */
static void put_roff(FILE *stream, const char *text)
{
    bool is_line_start = true;
    for (; *text; text++) {
        if (is_line_start && (*text == '.' || *text == '\''))
            (void)fputs("\\&", stream);
        if (*text == '-')
            (void)fputs("\\-", stream);
        else if (*text == '\\')
            (void)fputs("\\e", stream);
        else
            (void)fputc(*text, stream);
        is_line_start = *text == '\n';
    }
}

static void put_option(FILE *stream, const struct option_row *row)
{
    (void)fputs(".TP\n.B ", stream);
    (void)fputs("\\-\\-", stream);
    put_roff(stream, row->name);
    if (row->value) {
        (void)fputs(" \\fI", stream);
        put_roff(stream, row->value);
        (void)fputs("\\fR", stream);
    }
    (void)fputc('\n', stream);
    put_roff(stream, row->sentence);
    (void)fputc('\n', stream);
}

static void put_command(FILE *stream, const struct command *command)
{
    (void)fputs(".SS ", stream);
    put_roff(stream, command->name);
    (void)fputs(command->arguments[0] ? " " : "", stream);
    put_roff(stream, command->arguments);
    (void)fprintf(stream, "\n%c", command->sentence[0] - 'a' + 'A');
    put_roff(stream, command->sentence + 1);
    (void)fputs(".\n", stream);
    if (command->details) {
        put_roff(stream, command->details);
        (void)fputc('\n', stream);
    }
    for (size_t i = 0; command->options && command->options[i].name; i++)
        put_option(stream, &command->options[i]);
}

void print_manual(FILE *stream)
{
    static const struct option_row common[] = {
        {"home", "DIR", "the node's directory; else TROUPE_HOME, or the user's own node"},
        {"connect", "FILE", "a node elsewhere, by the file that troupe client add wrote"},
        {"json", NULL, "one JSON document on standard output, or JSON lines for what goes on"},
        {"help", NULL, "the help of a command"},
    };
    size_t count = 0;
    const struct command *rows = command_rows(&count);
    (void)fputs(".\\\" Generated from runtime/tools/troupe/main.c by scripts/generate_docs; do not "
                "edit.\n"
                ".TH TROUPE 1 \"\" \"troupe " TROUPE_BUILD "\" \"troupe\"\n"
                ".SH NAME\ntroupe \\- run large language models on the machines you own\n"
                ".SH SYNOPSIS\n.B troupe\n.I COMMAND\n"
                "[\\fIARGUMENT\\fR]... [\\fIOPTION\\fR]...\n"
                ".SH DESCRIPTION\n"
                "The command line of a troupe node: a client of the node's master and of its HTTP\n"
                "interface.\n"
                "Results go to standard output, messages to standard error.\n"
                ".SH COMMANDS\n",
                stream);
    for (size_t i = 0; i < count; i++)
        put_command(stream, &rows[i]);
    (void)fputs(".SH OPTIONS OF ALL COMMANDS\n", stream);
    for (size_t i = 0; i < COUNT_OF(common); i++)
        put_option(stream, &common[i]);
    (void)fputs(".SH EXIT STATUS\n", stream);
    for (size_t i = 0; i < COUNT_OF(exit_codes); i++) {
        (void)fprintf(stream, ".TP\n.B %d\n", exit_codes[i].code);
        put_roff(stream, exit_codes[i].sentence);
        (void)fputc('\n', stream);
    }
    (void)fputs(".SH ENVIRONMENT\n"
                ".TP\n.B TROUPE_HOME\nthe node's directory\n"
                ".TP\n.B TROUPE_\\fIKEY\\fR\nany setting; troupe up \\-\\-help lists them\n"
                ".TP\n.B NO_COLOR\nno colours when it is not empty\n"
                ".SH FILES\n"
                ".TP\n.I ~/.local/state/troupe\nthe node's directory unless another is given\n"
                ".TP\n.I HOME/config.ini\nsettings, one a line: key = value\n"
                ".TP\n.I HOME/supervisor.log\nwhat the node's processes say\n"
                ".SH SEE ALSO\n.BR troupe\\-log (1)\n",
                stream);
}
