/* SPDX-License-Identifier: MIT */
/*
 * changeset = table*
 * table     = 'T' varint columns, columns * u8 part of the primary key, name, 0, change*
 * change    = u8 operation, u8 indirect, record (insert: new, delete: old), or two (update: old, new)
 * record    = columns * (u8 type, value)
 *             type 0 unchanged, 5 NULL: nothing; 1 integer, 2 float: 8 bytes; 3 text, 4 blob: varint length,
 * bytes varint    = big-endian, seven bits a byte; of the ninth byte all eight
 */
#include "fs/vault/changeset.h"

#include <stdbool.h>
#include <string.h>

#include "lethe/bytes.h"

#define COLUMNS_MAX 64 /* far more than any table of ours */
#define TYPE_NULL 5
enum { OPERATION_DELETE = 9, OPERATION_INSERT = 18, OPERATION_UPDATE = 23 };

static uint64_t read_varint(struct lethe_reader *reader)
{
    uint64_t value = 0;

    for (int i = 0; i < 9; i++) {
        uint8_t byte = lethe_read_u8(reader);

        if (i == 8) {
            return value << 8 | byte;
        }
        value = value << 7 | (byte & 127);
        if (byte < 128) {
            break;
        }
    }
    return value;
}

static void skip(struct lethe_reader *reader, uint64_t len)
{
    if (len > lethe_reader_left(reader)) {
        reader->bad = true;
    } else {
        (void)lethe_read_view(reader, (size_t)len);
    }
}

static void check_record(struct lethe_reader *reader, unsigned columns)
{
    for (unsigned i = 0; i < columns && !reader->bad; i++) {
        uint8_t type = lethe_read_u8(reader);

        if (type == 1 || type == 2) {
            skip(reader, 8);
        } else if (type == 3 || type == 4) {
            skip(reader, read_varint(reader));
        } else if (type > TYPE_NULL) {
            reader->bad = true;
        }
    }
}

/* The columns of the table whose header follows its 'T'. */
static unsigned check_table(struct lethe_reader *reader)
{
    uint64_t columns = read_varint(reader);
    const uint8_t *end;

    if (columns == 0 || columns > COLUMNS_MAX) {
        reader->bad = true;
        return 0;
    }
    skip(reader, columns);
    end = reader->bad ? NULL : memchr(reader->at, '\0', lethe_reader_left(reader));
    if (!end || end == reader->at) {
        reader->bad = true;
        return 0;
    }
    skip(reader, (uint64_t)(end - reader->at) + 1);
    return (unsigned)columns;
}

enum lethe_err lethe_changeset_check(const uint8_t *bytes, size_t len)
{
    struct lethe_reader reader;
    unsigned columns = 0; /* 0: no table yet */

    lethe_reader_init(&reader, bytes, len);
    while (!reader.bad && lethe_reader_left(&reader) > 0) {
        uint8_t first = lethe_read_u8(&reader);

        if (first == 'T') {
            columns = check_table(&reader);
            continue;
        }
        if (columns == 0 ||
            (first != OPERATION_DELETE && first != OPERATION_INSERT && first != OPERATION_UPDATE)) {
            return LETHE_ERR_INTEGRITY;
        }
        if (lethe_read_u8(&reader) > 1) { /* indirect */
            return LETHE_ERR_INTEGRITY;
        }
        check_record(&reader, columns);
        if (first == OPERATION_UPDATE) {
            check_record(&reader, columns);
        }
    }
    return reader.bad ? LETHE_ERR_INTEGRITY : LETHE_OK;
}
