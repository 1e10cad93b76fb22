/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a configuration file: refused with a sentence, or every setting is within the
 * bounds of its row; what no row allows never gets in.
 */
#include "protocol/assert.h"
#include "protocol/memory.h"
#include "runtime/config_rows.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(const struct config *config)
{
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        const struct config_row *row = &config_rows[key];
        if (row->type == CONFIG_SHARE) {
            const double share = config_share(config, (enum config_key)key);
            ASSERT(share >= (double)row->least && share <= (double)row->most);
        } else {
            uint64_t measured = row->type == CONFIG_TEXT ? strlen(config->texts[key])
                                                         : config->numbers[key];
            ASSERT(measured >= row->least && measured <= row->most);
        }
        ASSERT(config->origins[key] <= CONFIG_FILE);
    }
    ASSERT(config->origins[CONFIG_KEY_HOME] == CONFIG_DEFAULT);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct config config;
    struct reason reason = {""};
    ASSERT(config_init(&config, &reason) == STATUS_OK);
    char *text = memory_text((const char *)bytes, size);
    ASSERT(text != NULL);
    enum status status = config_read_text(&config, text, "config.ini", &reason);
    ASSERT((status == STATUS_OK) == (reason.text[0] == 0));
    check(&config);
    memory_free(text);
    config_fini(&config);
    return 0;
}
