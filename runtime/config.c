/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/config.h"

#include "protocol/memory.h"
#include "runtime/config_rows.h"

#include <stdio.h>
#include <string.h>

const struct config_row config_rows[CONFIG_KEY_COUNT] = {
#define CONFIG_ROW(NAME, name, type, standard, least, most, sentence)                              \
    [CONFIG_KEY_##NAME] = {#name, CONFIG_##type, standard, least, most, sentence},
    CONFIG_KEY_LIST(CONFIG_ROW)
#undef CONFIG_ROW
};

enum { NAME_LENGTH_MAX = 40, SHARE_SCALE = 1000000 };

/* Flags may be written with either dash: --log-level, --log_level. */
static bool name_equal(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        if (*a != *b && !(*a == '-' && *b == '_'))
            return false;
    }
    return *a == *b;
}

int config_find(const char *name)
{
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        if (name_equal(name, config_rows[key].name))
            return key;
    }
    return -1;
}

/* Levenshtein's distance, with one row of the table. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_LENGTH_MAX + 1];
    size_t length = strlen(b);
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t replaced = diagonal + (a[i] != b[j] && !(a[i] == '-' && b[j] == '_'));
            size_t least = row[j] < row[j + 1] ? row[j] + 1 : row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = replaced < least ? replaced : least;
        }
    }
    return row[length];
}

enum status config_unknown(const char *name, const char *where, struct reason *reason)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (int key = 0; key < CONFIG_KEY_COUNT && strlen(name) <= NAME_LENGTH_MAX; key++) {
        size_t steps = distance(name, config_rows[key].name);
        if (steps < least) {
            least = steps;
            nearest = config_rows[key].name;
        }
    }
    if (nearest && least <= 2 + strlen(name) / 4 && least < strlen(name))
        return refuse(reason, STATUS_INVALID, "%s: there is no setting %.60s; did you mean %s?",
                      where, name, nearest);
    return refuse(reason, STATUS_INVALID, "%s: there is no setting %.60s; see --help", where, name);
}

static bool number_parse(const char *text, bool has_units, uint64_t *number_out)
{
    uint64_t number = 0;
    size_t i = 0;
    for (; text[i] >= '0' && text[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (i == 0)
        return false;
    static const char units[] = "KMGT";
    const char *unit = has_units && text[i] ? strchr(units, text[i]) : NULL;
    if (unit) {
        unsigned shift = 10u * (unsigned)(unit - units + 1);
        if (number > UINT64_MAX >> shift)
            return false;
        number <<= shift;
        i++;
        if (text[i] == 'i')
            i++;
        if (text[i] == 'B')
            i++;
    }
    *number_out = number;
    return text[i] == 0;
}

static bool switch_parse(const char *text, uint64_t *number_out)
{
    static const char *const words[2][4] = {{"false", "no", "off", "0"},
                                            {"true", "yes", "on", "1"}};
    for (uint64_t value = 0; value < 2; value++) {
        for (size_t i = 0; i < COUNT_OF(words[value]); i++) {
            if (strcmp(text, words[value][i]) == 0) {
                *number_out = value;
                return true;
            }
        }
    }
    return false;
}

/* "0.85" as millionths.  False: it is none, or beyond 0 to 1; then its percentage may be. */
static bool share_parse(const char *text, uint64_t *millionths_out)
{
    uint64_t value = 0;
    uint64_t scale = SHARE_SCALE;
    size_t i = 0;
    for (; text[i] >= '0' && text[i] <= '9' && value <= 100; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    if (i == 0)
        return false;
    value *= SHARE_SCALE;
    if (text[i] == '.')
        for (i++; text[i] >= '0' && text[i] <= '9'; i++) {
            scale /= 10;
            value += (uint64_t)(text[i] - '0') * scale;
        }
    *millionths_out = value;
    return text[i] == '\0' && value <= SHARE_SCALE;
}

static enum status share_refuse(const struct config_row *row, const char *value,
                                const char *where, uint64_t millionths, struct reason *reason)
{
    const bool is_number = value[0] == '-' || (value[0] >= '0' && value[0] <= '9');
    if (millionths >= 2 * SHARE_SCALE && millionths <= 100 * SHARE_SCALE)
        return refuse(reason, STATUS_INVALID,
                      "%s: %s must be 0 to 1, not %.60s; the nearest is 1, and %g %% are %g", where,
                      row->name, value, (double)millionths / SHARE_SCALE,
                      (double)millionths / 100 / SHARE_SCALE);
    return refuse(reason, STATUS_INVALID, "%s: %s must be 0 to 1, not %.60s; the nearest is %s",
                  where, row->name, value,
                  !is_number        ? row->standard
                  : value[0] == '-' ? "0"
                                    : "1");
}

static enum status text_check(const struct config_row *row, const char *value, const char *where,
                              struct reason *reason)
{
    size_t length = strlen(value);
    if (length < row->least || length > row->most)
        return refuse(reason, STATUS_INVALID, "%s: %s must have %llu to %llu characters", where,
                      row->name, (unsigned long long)row->least, (unsigned long long)row->most);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return refuse(reason, STATUS_INVALID, "%s: %s has a control character", where,
                          row->name);
    }
    if (row == &config_rows[CONFIG_KEY_LOG_LEVEL] && strcmp(value, "error") != 0 &&
        strcmp(value, "warning") != 0 && strcmp(value, "notice") != 0 &&
        strcmp(value, "debug") != 0)
        return refuse(reason, STATUS_INVALID,
                      "%s: log_level must be error, warning, notice or debug", where);
    return STATUS_OK;
}

static enum status value_parse(const struct config_row *row, const char *value, const char *where,
                               uint64_t *number_out, struct reason *reason)
{
    *number_out = 0;
    if (row->type == CONFIG_TEXT)
        return text_check(row, value, where, reason);
    if (row->type == CONFIG_SHARE)
        return share_parse(value, number_out)
                   ? STATUS_OK
                   : share_refuse(row, value, where, *number_out, reason);
    if (row->type == CONFIG_SWITCH)
        return switch_parse(value, number_out)
                   ? STATUS_OK
                   : refuse(reason, STATUS_INVALID, "%s: %s must be true or false, not %.60s",
                            where, row->name, value);
    if (!number_parse(value, row->type == CONFIG_SIZE, number_out) || *number_out < row->least ||
        *number_out > row->most)
        return refuse(reason, STATUS_INVALID, "%s: %s must be a %s from %llu to %llu, not %.60s",
                      where, row->name, row->type == CONFIG_SIZE ? "size" : "number",
                      (unsigned long long)row->least, (unsigned long long)row->most, value);
    return STATUS_OK;
}

enum status config_set(struct config *config, const char *name, const char *value,
                       enum config_origin origin, const char *where, struct reason *reason)
{
    int key = config_find(name);
    uint64_t number;
    if (key < 0)
        return config_unknown(name, where, reason);
    enum status status = value_parse(&config_rows[key], value, where, &number, reason);
    if (status != STATUS_OK || origin < config->origins[key])
        return status;
    char *text = memory_text(value, strlen(value));
    if (!text)
        return refuse(reason, STATUS_NO_MEMORY, "no memory for settings");
    memory_free(config->texts[key]);
    config->texts[key] = text;
    config->numbers[key] = number;
    config->origins[key] = origin;
    return STATUS_OK;
}

enum status config_init(struct config *config, struct reason *reason)
{
    *config = (struct config){0};
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        const struct config_row *row = &config_rows[key];
        enum status status = config_set(config, row->name, row->standard, CONFIG_DEFAULT,
                                        "default", reason);
        if (status != STATUS_OK) {
            config_fini(config);
            return status;
        }
    }
    return STATUS_OK;
}

void config_fini(struct config *config)
{
    for (int key = 0; key < CONFIG_KEY_COUNT; key++)
        memory_free(config->texts[key]);
    *config = (struct config){0};
}

const char *config_text(const struct config *config, enum config_key key)
{
    return config->texts[key];
}

uint64_t config_number(const struct config *config, enum config_key key)
{
    return config->numbers[key];
}

double config_share(const struct config *config, enum config_key key)
{
    return (double)config->numbers[key] / SHARE_SCALE;
}

bool config_switch(const struct config *config, enum config_key key)
{
    return config->numbers[key] != 0;
}

const char *config_name(enum config_key key)
{
    return config_rows[key].name;
}
