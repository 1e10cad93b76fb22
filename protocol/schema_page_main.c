/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/schema_page.h"

#include <stdio.h>

int main(void)
{
    struct buffer page;
    buffer_init(&page, 4u << 20);
    enum status status = schema_page(&page);
    if (status == STATUS_OK && fwrite(page.bytes, 1, page.size, stdout) != page.size)
        status = STATUS_IO;
    buffer_fini(&page);
    if (status != STATUS_OK || fflush(stdout) != 0) {
        fprintf(stderr, "troupe-protocol-page: %s\n", status_text(status));
        return 1;
    }
    return 0;
}
