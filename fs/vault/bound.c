/* SPDX-License-Identifier: MIT */
/*
 * Vaults in stores without conditional writes. No lock can be built from plain PUTs: so the head names the one device
 * that may move it (lethefs-format(5), HEAD), and that device still reads before and after it writes. What reading
 * cannot rule out is a write of another device between two of these requests; that device then finds that it is
 * not the one, and stops.
 */
#include <string.h>

#include "fs/vault/journal.h"
#include "fs/vault/vault_private.h"
#include "lethe/log.h"

#define REPLACEABLE_MAX (1u << 20) /* head and vault.json are far smaller */

void lethe_vault_set_writer(struct lethe_vault *vault, const struct lethe_id *writer)
{
    vault->writer = *writer;
}

void lethe_vault_see_writer(struct lethe_vault *vault, const struct lethe_id *writer)
{
    enum lethe_binding binding = LETHE_BINDING_OTHERS;

    if (lethe_id_is_zero(writer)) {
        binding = LETHE_BINDING_NONE;
    } else if (lethe_id_equal(writer, &vault->writer)) {
        binding = LETHE_BINDING_OURS;
    }
    atomic_store(&vault->binding, (int)binding);
}

enum lethe_binding lethe_vault_binding(struct lethe_vault *vault)
{
    return (enum lethe_binding)atomic_load(&vault->binding);
}

enum lethe_err lethe_vault_refuse_others(struct lethe_vault *vault)
{
    if (lethe_vault_binding(vault) != LETHE_BINDING_OTHERS) {
        return LETHE_OK;
    }
    lethe_log(LETHE_LOG_ERROR, "the vault is bound to another device, for its store has no conditional writes: unmount it"
                               " there, then run 'lethefs mount --take-over' here");
    return LETHE_ERR_BUSY;
}

/* What the key holds; an absent one is empty and has no version. */
static enum lethe_err look(struct lethe_vault *vault, const char *key, struct lethe_buf *out,
                           struct lethe_store_version *version)
{
    enum lethe_err err = lethe_store_get(vault->store, key, 0, REPLACEABLE_MAX, out, version);

    if (err == LETHE_ERR_NOT_FOUND) {
        version->text[0] = '\0';
        err = LETHE_OK;
    }
    return err;
}

static bool same(const struct lethe_buf *buf, const uint8_t *bytes, size_t len)
{
    return buf->len == len && memcmp(buf->data, bytes, len) == 0;
}

/* As lethe_store_replace, by reading, writing and reading. */
static enum lethe_err replace_carefully(struct lethe_vault *vault, const char *key, const uint8_t *bytes, size_t len,
                                        const struct lethe_store_version *expected, struct lethe_store_version *version)
{
    struct lethe_buf before = {0}, after = {0};
    struct lethe_store_version found;
    enum lethe_err err = look(vault, key, &before, &found);

    if (!err && strcmp(found.text, expected->text) != 0) {
        err = LETHE_ERR_CONFLICT;
    }
    err = err ? err : lethe_store_overwrite(vault->store, key, bytes, len);
    err = err ? err : look(vault, key, &after, &found);
    if (!err && same(&after, bytes, len)) {
        *version = found;
    } else if (!err) {
        /* A store may show the old bytes for a while; others are somebody else's. */
        err = after.len == 0 || same(&after, before.data, before.len) ? LETHE_ERR_UNREACHABLE : LETHE_ERR_CONFLICT;
    }
    lethe_buf_release(&before);
    lethe_buf_release(&after);
    return err;
}

enum lethe_err lethe_vault_replace(struct lethe_vault *vault, const char *key, const uint8_t *bytes, size_t len,
                                   const struct lethe_store_version *expected, struct lethe_store_version *version)
{
    enum lethe_err err = LETHE_ERR_UNSUPPORTED;

    if (lethe_vault_binding(vault) == LETHE_BINDING_OURS) {
        err = replace_carefully(vault, key, bytes, len, expected, version);
    }
    /* A store that cannot overwrite replaces under conditions: a bound vault was moved there. */
    return err == LETHE_ERR_UNSUPPORTED ? lethe_store_replace(vault->store, key, bytes, len, expected, version) : err;
}

enum lethe_err lethe_vault_first_head(struct lethe_vault *vault, struct lethe_head *head)
{
    const struct lethe_store_version none = {""};
    struct lethe_store_version version;
    enum lethe_err err = lethe_head_move(vault, head, &none, &version);

    if (err == LETHE_ERR_UNSUPPORTED) {
        head->writer = vault->writer;
        err = lethe_head_move(vault, head, &none, &version);
        if (!err) {
            lethe_log(LETHE_LOG_WARN, "the store has no conditional writes: the vault is bound to this device, until"
                                      " another takes it over with 'lethefs mount --take-over'");
        }
    }
    return err;
}

enum lethe_err lethe_vault_take_over(struct lethe_vault *vault)
{
    struct lethe_store_version version;
    struct lethe_head head;
    enum lethe_err err = lethe_head_get(vault, &head, &version);

    if (err || lethe_vault_binding(vault) == LETHE_BINDING_OURS) {
        return err;
    }
    head.writer = (struct lethe_id){{0}};
    err = lethe_head_move(vault, &head, &version, &version);
    if (!err) {
        lethe_log(LETHE_LOG_INFO, "the store has conditional writes: the vault is bound to no device");
        return LETHE_OK;
    }
    if (err == LETHE_ERR_UNSUPPORTED) {
        head.writer = vault->writer;
        err = lethe_head_move(vault, &head, &version, &version);
    }
    if (err) {
        lethe_log(LETHE_LOG_ERROR, "the vault cannot be taken over: %s; try again", lethe_err_str(err));
    } else {
        lethe_log(LETHE_LOG_INFO, "the vault is bound to this device now");
    }
    return err;
}
