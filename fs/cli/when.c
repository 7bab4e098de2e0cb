/* SPDX-License-Identifier: MIT */
/* Times and durations as people write them. */
#include "fs/cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS 1000000000ll

enum lethe_err lethe_cli_duration(const char *text, int64_t *seconds)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    int64_t number, factor = 1;
    char *end;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno) {
        return LETHE_ERR_ARG;
    }
    if (*end) {
        factor = 0;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            if (end[0] == units[i].unit && end[1] == '\0') {
                factor = units[i].seconds;
            }
        }
    }
    if (factor == 0 || number > INT64_MAX / NS / factor) {
        return LETHE_ERR_ARG;
    }
    *seconds = number * factor;
    return LETHE_OK;
}

enum lethe_err lethe_cli_time(const char *text, int64_t *out)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
    int64_t seconds;

    if (text[0] == '@' && !lethe_cli_duration(text + 1, &seconds)) {
        *out = seconds * NS;
        return LETHE_OK;
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {.tm_isdst = -1};
        const char *end = strptime(text, forms[i], &tm);

        if (end && (*end == '\0' || strcmp(end, "Z") == 0)) {
            time_t at = *end ? timegm(&tm) : mktime(&tm);

            if (at > INT64_MAX / NS || at < INT64_MIN / NS) { /* nanoseconds reach from 1677 to 2262 */
                return LETHE_ERR_ARG;
            }
            *out = (int64_t)at * NS;
            return LETHE_OK;
        }
    }
    if (!lethe_cli_duration(text, &seconds)) {
        *out = ((int64_t)time(NULL) - seconds) * NS;
        return LETHE_OK;
    }
    return LETHE_ERR_ARG;
}
