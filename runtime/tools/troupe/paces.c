/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/tools/troupe/paces.h"

#include "runtime/pace_view.h"

#include <stdio.h>

enum { FIGURE_SIZE = 32 };

int paces_ask(struct cli *cli, struct message *answer_out)
{
    struct message command;
    enum status status = message_init(&command, MESSAGE_COMMAND, COMMAND_ASK_PACES);
    if (status != STATUS_OK)
        return cli_failed(cli, status, NULL);
    const int code = cli_command(cli, &command, answer_out);
    message_fini(&command);
    if (code != EXIT_CODE_OK || message_is(answer_out, MESSAGE_ANSWER, ANSWER_PACES))
        return code;
    message_fini(answer_out);
    return cli_failed(cli, STATUS_MALFORMED, NULL);
}

/* "12.3", "0.12", and what there is not yet. */
static const char *figure(double value, char text_out[FIGURE_SIZE])
{
    if (value > 0)
        (void)snprintf(text_out, FIGURE_SIZE, "%.*f", value < 10 ? 2 : 1, value);
    else
        (void)snprintf(text_out, FIGURE_SIZE, "-");
    return text_out;
}

static void print_line(const char *word, double tokens_per_s, double first_token_s,
                       uint32_t prompt_tokens, double load_s)
{
    char rate[FIGURE_SIZE];
    char first[FIGURE_SIZE];
    char load[FIGURE_SIZE];
    char prompt[FIGURE_SIZE] = "-";
    if (first_token_s > 0)
        (void)snprintf(prompt, sizeof(prompt), "%u", prompt_tokens);
    (void)printf("  %-9s %6s tokens/s, first token of a prompt of %4s after %5s s, load %5s s\n",
                 word, figure(tokens_per_s, rate), prompt, figure(first_token_s, first),
                 figure(load_s, load));
}

void paces_print(const struct instance_record *instance, const struct paces_listed *listed)
{
    const struct pace_measured *pace =
        pace_find(listed->paces.items, listed->paces.count, instance);
    if (instance->ranks.count == 0)
        return;
    print_line("predicted", instance->tokens_per_s, instance->first_token_s,
               PREDICTED_PROMPT_TOKENS, instance->load_s);
    print_line("got", pace ? pace->tokens_per_s : 0, pace ? pace->first_token_s : 0,
               pace ? pace->prompt_tokens : 0, pace_load_s(instance));
}

void paces_add(struct document *document, const struct instance_record *instance,
               const struct paces_listed *listed)
{
    document_add(document, "\"observed\": ");
    if (!document->is_broken &&
        pace_print(instance, pace_find(listed->paces.items, listed->paces.count, instance),
                   &document->text) != STATUS_OK)
        document->is_broken = true;
}
