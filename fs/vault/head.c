/* SPDX-License-Identifier: MIT */
#include "fs/vault/journal.h"

#include <string.h>

#include "lethe/log.h"

#define HEAD_KEY "head"
#define HEAD_FORMAT 1

void lethe_journal_chain_start(const struct lethe_id *vault, uint8_t out[32])
{
    struct lethe_id id = *vault;

    lethe_hash(id.bytes, sizeof id.bytes, out);
}

static enum lethe_err head_parse(const uint8_t *bytes, size_t len, struct lethe_head *head)
{
    struct lethe_reader reader;
    uint8_t format;

    lethe_reader_init(&reader, bytes, len);
    format = lethe_read_u8(&reader);
    if (!reader.bad && format != HEAD_FORMAT) {
        return format > HEAD_FORMAT ? LETHE_ERR_VERSION : LETHE_ERR_FORMAT;
    }
    head->epoch = lethe_read_u64(&reader);
    lethe_read_bytes(&reader, head->segment.bytes, sizeof head->segment.bytes);
    lethe_read_bytes(&reader, head->chain, sizeof head->chain);
    head->generation = lethe_read_u64(&reader);
    lethe_read_bytes(&reader, head->json_hash, sizeof head->json_hash);
    head->time = (int64_t)lethe_read_u64(&reader);
    lethe_read_bytes(&reader, head->pair.bytes, sizeof head->pair.bytes);
    lethe_read_bytes(&reader, head->writer.bytes, sizeof head->writer.bytes);
    return lethe_reader_status(&reader, true);
}

enum lethe_err lethe_head_get(struct lethe_vault *vault, struct lethe_head *head,
                              struct lethe_store_version *version)
{
    struct lethe_buf sealed = {0}, plain = {0};
    enum lethe_err err = lethe_store_get(lethe_vault_store(vault), HEAD_KEY, 0, 65536, &sealed, version);

    if (err == LETHE_ERR_NOT_FOUND) {
        lethe_log(LETHE_LOG_ERROR,
                  "the vault has no head: somebody removed it; restore it from a copy of the vault");
        err = LETHE_ERR_INTEGRITY;
    }
    if (err) {
        goto out;
    }
    err = lethe_vault_unseal(vault, LETHE_OBJECT_HEAD, NULL, NULL, 0, sealed.data, sealed.len, &plain);
    if (!err) {
        err = head_parse(plain.data, plain.len, head);
    }
    if (err == LETHE_ERR_INTEGRITY || err == LETHE_ERR_FORMAT) {
        lethe_log(LETHE_LOG_ERROR,
                  "the vault's head is damaged or forged: restore it from a copy of the vault");
        err = LETHE_ERR_INTEGRITY;
    }
    if (!err) {
        lethe_vault_see_writer(vault, &head->writer);
    }
out:
    lethe_buf_release(&sealed);
    lethe_buf_release(&plain);
    return err;
}

enum lethe_err lethe_head_move(struct lethe_vault *vault, const struct lethe_head *head,
                               const struct lethe_store_version *expected,
                               struct lethe_store_version *version)
{
    struct lethe_buf plain = {0}, sealed = {0};
    enum lethe_err err;

    lethe_buf_put_u8(&plain, HEAD_FORMAT);
    lethe_buf_put_u64(&plain, head->epoch);
    lethe_buf_put(&plain, head->segment.bytes, sizeof head->segment.bytes);
    lethe_buf_put(&plain, head->chain, sizeof head->chain);
    lethe_buf_put_u64(&plain, head->generation);
    lethe_buf_put(&plain, head->json_hash, sizeof head->json_hash);
    lethe_buf_put_u64(&plain, (uint64_t)head->time);
    lethe_buf_put(&plain, head->pair.bytes, sizeof head->pair.bytes);
    lethe_buf_put(&plain, head->writer.bytes, sizeof head->writer.bytes);
    err = lethe_buf_status(&plain);
    if (!err) {
        err = lethe_vault_seal(vault, LETHE_OBJECT_HEAD, NULL, NULL, 0, plain.data, plain.len, &sealed);
    }
    if (!err) {
        lethe_vault_see_writer(vault, &head->writer);
        err = lethe_vault_replace(vault, HEAD_KEY, sealed.data, sealed.len, expected, version);
    }
    lethe_buf_release(&plain);
    lethe_buf_release(&sealed);
    return err;
}
