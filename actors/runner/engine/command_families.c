/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the table of families, as kept in families/FAMILIES.md. */
#include "actors/runner/engine/commands.h"
#include "runtime/model_family.h"

#include <stdio.h>

int engine_command_families(int argc, char **argv)
{
    if (argc > 1)
        return engine_command_usage("families", argv[1]);
    printf("<!-- written by scripts/generate_docs from the families' files -->\n"
           "# Families of models\n\n"
           "| family | model_type | cache per layer | units of a tensor cut |\n"
           "|---|---|---|---|\n");
    for (const struct model_family *const *at = model_families; *at; at++) {
        const struct model_family *family = *at;
        printf("| %s |", family->name);
        for (const char *const *type = family->types; *type; type++)
            printf("%s `%s`", type == family->types ? "" : ",", *type);
        printf(" | %s | %s |\n", family->cache, family->cuts);
    }
    printf("\nCode in a model's repository is never run. A known model_type is taken though its "
           "files name code\n(`auto_map`), as the official ones of DeepSeek-V3, Kimi and Step do: "
           "what computes is the family's own code\nhere, and tensors it does not know are "
           "refused. Refused by name are an unknown model_type, a `model_file`\nin config.json, "
           "and a tokenizer that is only code (no `tokenizer.json`, nor `vocab.json` and "
           "`merges.txt` of\na known class without `auto_map`).\n");
    printf("\nKeys of config.json that each family reads, beside `rope_theta`, `rope_scaling`, "
           "`rope_parameters` and\n`quantization`; those in brackets may be absent.\n");
    for (const struct model_family *const *at = model_families; *at; at++) {
        const struct model_family *family = *at;
        printf("\n- %s:", family->name);
        for (size_t i = 0; i < family->key_count; i++)
            printf("%s %s%s%s", i > 0 ? "," : "", family->keys[i].is_required ? "" : "[",
                   family->keys[i].name, family->keys[i].is_required ? "" : "]");
        printf("\n");
    }
    return ENGINE_EXIT_OK;
}
