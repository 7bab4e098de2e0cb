/* SPDX-License-Identifier: MIT */
/*
 * The recovery phrase: a secret of 256 bits that a person can write down and type again.
 *
 *   phrase = base32(secret[32] | checksum[3]), 56 characters in 14 groups of 4 with hyphens between
 *   checksum = the first 3 bytes of BLAKE2b-256("lethefs recovery phrase v1" | secret)
 *
 * 35 bytes are 280 bits, most significant first: 56 characters with no bit to spare. The alphabet is
 * Crockford's (https://www.crockford.com/base32.html): no I, L, O, U. A typo passes with probability 2^-24.
 */
#include <string.h>

#include "engine/seal/primitives.h"
#include "lethe/seal.h"

#define CHECKSUM_BYTES 3
#define PHRASE_BYTES (LETHE_KEY_BYTES + CHECKSUM_BYTES)
#define PHRASE_CHARS (PHRASE_BYTES * 8 / 5)
#define GROUP 4

_Static_assert(PHRASE_BYTES * 8 == PHRASE_CHARS * 5, "no spare bits");
_Static_assert(PHRASE_CHARS + PHRASE_CHARS / GROUP <= LETHE_PHRASE_MAX, "a hyphen or zero after every group");

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void checksum(const uint8_t secret[LETHE_KEY_BYTES], uint8_t out[CHECKSUM_BYTES])
{
    static const char label[] = "lethefs recovery phrase v1";
    const struct lethe_part parts[2] = {{label, sizeof label - 1}, {secret, LETHE_KEY_BYTES}};
    uint8_t digest[32];

    lethe_blake2b(NULL, parts, 2, digest);
    memcpy(out, digest, CHECKSUM_BYTES);
    lethe_wipe(digest, sizeof digest);
}

void lethe_phrase_write(const struct lethe_secret *secret, char out[LETHE_PHRASE_MAX])
{
    uint8_t bytes[PHRASE_BYTES];
    uint32_t bits = 0;
    unsigned have = 0, count = 0;

    memcpy(bytes, lethe_secret_bytes(secret), LETHE_KEY_BYTES);
    checksum(bytes, bytes + LETHE_KEY_BYTES);
    for (size_t i = 0; i < PHRASE_BYTES; i++) {
        bits = bits << 8 | bytes[i];
        have += 8;
        while (have >= 5) {
            have -= 5;
            if (count > 0 && count % GROUP == 0) {
                *out++ = '-';
            }
            *out++ = alphabet[bits >> have & 31];
            count++;
        }
    }
    *out = '\0';
    lethe_wipe(bytes, sizeof bytes);
    lethe_wipe(&bits, sizeof bits);
}

/* The value of a character, -1 for one that is skipped, -2 for one that has no place in a phrase. */
static int value_of(char c)
{
    const char *found;

    if (c >= 'a' && c <= 'z') {
        c = (char)(c - 'a' + 'A');
    }
    switch (c) {
    case ' ':
    case '\t':
    case '\r':
    case '\n':
    case '-':
        return -1;
    case 'O':
        return 0;
    case 'I':
    case 'L':
        return 1;
    default:
        break;
    }
    found = c != '\0' ? strchr(alphabet, c) : NULL;
    return found ? (int)(found - alphabet) : -2;
}

enum lethe_err lethe_phrase_read(const char *text, size_t len, struct lethe_secret **out)
{
    uint8_t bytes[PHRASE_BYTES], expected[CHECKSUM_BYTES], differs = 0;
    uint32_t bits = 0;
    unsigned have = 0;
    size_t chars = 0, filled = 0;
    enum lethe_err err = LETHE_ERR_FORMAT;

    *out = NULL;
    for (size_t i = 0; i < len; i++) {
        int value = value_of(text[i]);

        if (value == -1) {
            continue;
        }
        if (value < 0 || ++chars > PHRASE_CHARS) {
            goto out;
        }
        bits = bits << 5 | (uint32_t)value;
        have += 5;
        if (have >= 8) {
            have -= 8;
            bytes[filled++] = (uint8_t)(bits >> have);
        }
    }
    if (chars != PHRASE_CHARS) {
        goto out;
    }
    checksum(bytes, expected);
    for (size_t i = 0; i < CHECKSUM_BYTES; i++) {
        differs |= bytes[LETHE_KEY_BYTES + i] ^ expected[i];
    }
    if (!differs) {
        err = lethe_secret_new(bytes, out);
    }
out:
    lethe_wipe(bytes, sizeof bytes);
    lethe_wipe(&bits, sizeof bits);
    return err;
}
