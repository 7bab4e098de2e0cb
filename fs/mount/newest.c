/* SPDX-License-Identifier: MIT */
/* state_dir/newest = hash of vault.json[32] | vault.json, sealed */
#include "fs/mount/newest.h"

#include <stdio.h>
#include <string.h>

#include "fs/file.h"
#include "fs/vault/journal.h"
#include "lethe/log.h"

#define VAULT_JSON "vault.json"
#define HASH_BYTES 32
#define NEWEST_MAX (256u << 10)

static struct lethe_object_name name_of(const struct lethe_vault *vault)
{
    return (struct lethe_object_name){
        .kind = LETHE_OBJECT_DEVICE, .vault = lethe_vault_settings(vault)->id, .position = 1};
}

static enum lethe_err read_kept(const char *state_dir, struct lethe_buf *out)
{
    char path[4096];
    enum lethe_err err;

    if (snprintf(path, sizeof path, "%s/newest", state_dir) >= (int)sizeof path) {
        return LETHE_ERR_ARG;
    }
    err = lethe_file_read(path, NEWEST_MAX, out);
    return !err && out->len < HASH_BYTES ? LETHE_ERR_NOT_FOUND : err;
}

bool lethe_newest_is_other(const char *state_dir, const uint8_t json_hash[32])
{
    struct lethe_buf kept = {0};
    bool other = !read_kept(state_dir, &kept) && memcmp(kept.data, json_hash, HASH_BYTES) != 0;

    lethe_buf_release(&kept);
    return other;
}

enum lethe_err lethe_newest_keep(struct lethe_vault *vault, const char *state_dir, const struct lethe_buf *json)
{
    struct lethe_object_name name = name_of(vault);
    struct lethe_buf kept = {0};
    uint8_t hash[HASH_BYTES];
    char path[4096];
    enum lethe_err err;

    lethe_hash(json->data, json->len, hash);
    if (lethe_vault_binding(vault) != LETHE_BINDING_OURS ||
        (!read_kept(state_dir, &kept) && memcmp(kept.data, hash, HASH_BYTES) == 0)) {
        lethe_buf_release(&kept);
        return LETHE_OK;
    }
    lethe_buf_reset(&kept);
    lethe_buf_put(&kept, hash, sizeof hash);
    err = lethe_buf_status(&kept);
    err = err ? err
              : lethe_object_seal(lethe_vault_master(vault), &name, true, json->data, json->len,
                                  lethe_random_system(), &kept);
    if (!err && snprintf(path, sizeof path, "%s/newest", state_dir) >= (int)sizeof path) {
        err = LETHE_ERR_ARG;
    }
    err = err ? err : lethe_file_write_durably(path, kept.data, kept.len, 0600);
    lethe_buf_release(&kept);
    return err;
}

enum lethe_err lethe_newest_mend(struct lethe_vault *vault, const char *state_dir, struct lethe_buf *json)
{
    struct lethe_object_name name = name_of(vault);
    struct lethe_buf kept = {0}, there = {0};
    struct lethe_store_version version;
    struct lethe_head head;
    size_t start = json->len;
    uint8_t hash[HASH_BYTES];
    enum lethe_err err = lethe_head_get(vault, &head, NULL);

    err = err ? err : lethe_vault_binding(vault) == LETHE_BINDING_OURS ? LETHE_OK : LETHE_ERR_NOT_FOUND;
    err = err ? err : read_kept(state_dir, &kept);
    if (!err && lethe_object_open(lethe_vault_master(vault), &name, true, kept.data + HASH_BYTES,
                                  kept.len - HASH_BYTES, json)) {
        err = LETHE_ERR_NOT_FOUND;
    }
    if (!err) {
        lethe_hash(json->data + start, json->len - start, hash);
        err = memcmp(hash, head.json_hash, sizeof hash) == 0 ? LETHE_OK : LETHE_ERR_NOT_FOUND;
    }
    err = err ? err : lethe_store_get(lethe_vault_store(vault), VAULT_JSON, 0, NEWEST_MAX, &there, &version);
    err = err ? err
              : lethe_vault_replace(vault, VAULT_JSON, json->data + start, json->len - start, &version, &version);
    if (!err) {
        lethe_log(LETHE_LOG_WARN, "vault.json was an earlier one than the vault's head names (a write that came late, or"
                                  " somebody put it there): the newest is in its place again");
    } else {
        json->len = start;
    }
    lethe_buf_release(&kept);
    lethe_buf_release(&there);
    return err;
}
