/* SPDX-License-Identifier: MIT */
#include "fs/mount/known.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/file.h"
#include "lethe/seal.h"

#define JSON_MAX (1u << 20)
#define HASH_BYTES 32

bool lethe_known_kind(const char *location)
{
    return strncmp(location, "s3://", 5) == 0;
}

/* Of where the vault is: two endpoints may have a bucket of the same name. */
static enum lethe_err hash_place(const char *location, const struct lethe_store_options *store, uint8_t out[HASH_BYTES])
{
    const char *endpoint = store->endpoint ? store->endpoint : getenv("AWS_ENDPOINT_URL");
    const char *profile = store->profile ? store->profile : getenv("AWS_PROFILE");
    struct lethe_buf text = {0};
    enum lethe_err err;

    lethe_buf_print(&text, "%s", location);
    while (text.len > 0 && text.data[text.len - 1] == '/') {
        text.len--;
    }
    lethe_buf_print(&text, "\n%s\n%s", endpoint ? endpoint : "", profile ? profile : "");
    err = lethe_buf_status(&text);
    if (!err) {
        lethe_hash(text.data, text.len, out);
    }
    lethe_buf_release(&text);
    return err;
}

static bool same(const char *path, const void *bytes, size_t len)
{
    struct lethe_buf there = {0};
    bool result = !lethe_file_read(path, JSON_MAX, &there) && there.len == len && memcmp(there.data, bytes, len) == 0;

    lethe_buf_release(&there);
    return result;
}

static enum lethe_err keep(const char *state_dir, const char *name, const void *bytes, size_t len)
{
    char path[4096];

    if (snprintf(path, sizeof path, "%s/%s", state_dir, name) >= (int)sizeof path) {
        return LETHE_ERR_ARG;
    }
    return same(path, bytes, len) ? LETHE_OK : lethe_file_write_durably(path, bytes, len, 0600);
}

enum lethe_err lethe_known_save(const char *state_dir, const char *location, const struct lethe_store_options *store,
                                const struct lethe_buf *json)
{
    uint8_t place[HASH_BYTES];
    enum lethe_err err = hash_place(location, store, place);

    err = err ? err : keep(state_dir, "vault.json", json->data, json->len);
    return err ? err : keep(state_dir, "place", place, sizeof place);
}

void lethe_known_forget(const char *state_dir)
{
    static const char *const names[] = {"vault.json", "place"};
    char path[4096];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (snprintf(path, sizeof path, "%s/%s", state_dir, names[i]) < (int)sizeof path) {
            (void)unlink(path);
        }
    }
}

enum lethe_err lethe_known_find(const char *states, const char *location, const struct lethe_store_options *store,
                                struct lethe_buf *json)
{
    uint8_t place[HASH_BYTES];
    char path[4096], found[4096] = "";
    unsigned count = 0;
    struct dirent *entry;
    enum lethe_err err = hash_place(location, store, place);
    DIR *folder = err ? NULL : opendir(states);

    if (!folder) {
        return err ? err : LETHE_ERR_NOT_FOUND;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (strlen(entry->d_name) != 32 || /* not one that was set aside */
            snprintf(path, sizeof path, "%s/%s/place", states, entry->d_name) >= (int)sizeof path ||
            !same(path, place, sizeof place)) {
            continue;
        }
        snprintf(found, sizeof found, "%.3900s/%.32s/vault.json", states, entry->d_name);
        count++;
    }
    closedir(folder);
    return count == 1 ? lethe_file_read(found, JSON_MAX, json) : LETHE_ERR_NOT_FOUND;
}
