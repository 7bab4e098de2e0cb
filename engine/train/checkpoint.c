/* SPDX-License-Identifier: MIT */
#include "engine/train/checkpoint.h"

#include <string.h>

#include "lethe/check.h"

/* Little-endian: magic, version, about, the floats of the parts one after another, XXH3 of all before it.
 */
#define MAGIC "lethetrn"
#define VERSION 1
#define HASH 8

enum lethe_err checkpoint_write(const struct lethe_train_about *about, const struct checkpoint_part *parts,
                                size_t count, struct lethe_buf *out)
{
    size_t start = out->len;
    enum lethe_err err;

    lethe_buf_put(out, MAGIC, 8);
    lethe_buf_put_u32(out, VERSION);
    lethe_buf_put_u64(out, about->seed);
    lethe_buf_put_u32(out, about->steps);
    lethe_buf_put_u32(out, about->step);
    lethe_buf_put_u8(out, about->synthetic);
    lethe_buf_put(out, about->init.bytes, sizeof about->init.bytes);
    lethe_buf_put_u64(out, about->pictures);
    for (size_t p = 0; p < count; p++) {
        for (size_t i = 0; i < parts[p].count; i++) {
            uint32_t bits;

            memcpy(&bits, &parts[p].values[i], sizeof bits);
            lethe_buf_put_u32(out, bits);
        }
    }
    err = lethe_buf_status(out);
    if (err) {
        return err;
    }
    lethe_buf_put_u64(out, lethe_check64(out->data + start, out->len - start));
    return lethe_buf_status(out);
}

/* Leaves the reader at the parts. */
static enum lethe_err read_about(const void *bytes, size_t len, struct lethe_reader *reader,
                                 struct lethe_train_about *about)
{
    uint8_t magic[8];
    uint32_t version;

    if (len < HASH) {
        return LETHE_ERR_FORMAT;
    }
    lethe_reader_init(reader, bytes, len - HASH);
    lethe_read_bytes(reader, magic, sizeof magic);
    version = lethe_read_u32(reader);
    about->seed = lethe_read_u64(reader);
    about->steps = lethe_read_u32(reader);
    about->step = lethe_read_u32(reader);
    about->synthetic = lethe_read_u8(reader) != 0;
    lethe_read_bytes(reader, about->init.bytes, sizeof about->init.bytes);
    about->pictures = lethe_read_u64(reader);
    if (lethe_reader_status(reader, false) || memcmp(magic, MAGIC, sizeof magic) != 0) {
        return LETHE_ERR_FORMAT;
    }
    if (version != VERSION) {
        return LETHE_ERR_VERSION;
    }
    if (lethe_check64(bytes, len - HASH) != lethe_get_u64((const uint8_t *)bytes + len - HASH)) {
        return LETHE_ERR_INTEGRITY;
    }
    return about->step <= about->steps ? LETHE_OK : LETHE_ERR_FORMAT;
}

enum lethe_err lethe_train_about_read(const void *bytes, size_t len, struct lethe_train_about *about)
{
    struct lethe_reader reader;

    return read_about(bytes, len, &reader, about);
}

enum lethe_err checkpoint_read(const void *bytes, size_t len, const struct checkpoint_part *parts,
                               size_t count)
{
    struct lethe_train_about about;
    struct lethe_reader reader;
    size_t floats = 0;
    enum lethe_err err = read_about(bytes, len, &reader, &about);

    for (size_t p = 0; p < count; p++) {
        floats += parts[p].count;
    }
    if (err || lethe_reader_left(&reader) != 4 * floats) {
        return err ? err : LETHE_ERR_FORMAT;
    }
    for (size_t p = 0; p < count; p++) {
        for (size_t i = 0; i < parts[p].count; i++) {
            uint32_t bits = lethe_read_u32(&reader);

            memcpy(&parts[p].values[i], &bits, sizeof bits);
        }
    }
    return lethe_reader_status(&reader, true);
}
