/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/config_rows.h"

static const char *origin_text(enum config_origin origin)
{
    static const char *const texts[] = {
        [CONFIG_DEFAULT] = "default",
        [CONFIG_FILE] = "file",
        [CONFIG_ENVIRONMENT] = "environment",
        [CONFIG_FLAG] = "flag",
    };
    return texts[origin];
}

enum status config_print(const struct config *config, struct buffer *text)
{
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        enum status status = buffer_append_format(text, "%s = %s    ; %s\n", config_rows[key].name,
                                                  config->texts[key],
                                                  origin_text(config->origins[key]));
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status config_help(struct buffer *text)
{
    static const char *const types[] = {
        [CONFIG_TEXT] = "TEXT",
        [CONFIG_NUMBER] = "NUMBER",
        [CONFIG_SIZE] = "SIZE",
        [CONFIG_SWITCH] = "true|false",
        [CONFIG_SHARE] = "SHARE",
    };
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        const struct config_row *row = &config_rows[key];
        enum status status = buffer_append_format(text, "  --%s %s\n      %s", row->name,
                                                  types[row->type], row->sentence);
        if (status == STATUS_OK && row->standard[0])
            status = buffer_append_format(text, " (%s)", row->standard);
        if (status == STATUS_OK)
            status = buffer_append_text(text, "\n");
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}
