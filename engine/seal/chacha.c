/* SPDX-License-Identifier: MIT */
/* The adapter of OpenSSL's libcrypto. Built without it, everything is left to libsodium. */
#include "engine/seal/chacha.h"

#include <stdlib.h>
#include <string.h>

#include "engine/seal/primitives.h"
#include "lethe/log.h"

#ifdef LETHE_HAVE_LIBCRYPTO

#include <openssl/evp.h>

#define STEP ((size_t)1 << 30) /* lengths are of type int there */

static EVP_CIPHER *cipher; /* NULL: a configuration without it */

void lethe_chacha_start(void)
{
    if (!cipher) {
        cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    }
}

static EVP_CIPHER_CTX *begin(const struct lethe_chacha_message *message, bool seal)
{
    EVP_CIPHER_CTX *context = cipher ? EVP_CIPHER_CTX_new() : NULL;

    if (context && EVP_CipherInit_ex2(context, cipher, message->key, message->nonce, seal, NULL) != 1) {
        EVP_CIPHER_CTX_free(context);
        context = NULL;
    }
    return context;
}

/* Nothing but arithmetic is left to do by now. Bytes may be overwritten in place, so there is no way back either. */
static void must(int done)
{
    if (done != 1) {
        lethe_log(LETHE_LOG_ERROR, "the cryptographic library libcrypto failed in the middle of a message");
        abort();
    }
}

static void transform(EVP_CIPHER_CTX *context, const struct lethe_chacha_message *message, const uint8_t *in, size_t len,
                      uint8_t *out)
{
    int done;

    must(EVP_CipherUpdate(context, NULL, &done, message->aad, (int)message->aad_len));
    for (size_t at = 0, n; at < len; at += n) {
        n = len - at < STEP ? len - at : STEP;
        must(EVP_CipherUpdate(context, out + at, &done, in + at, (int)n));
    }
}

bool lethe_chacha_seal(const struct lethe_chacha_message *message, const uint8_t *plain, size_t len, uint8_t *out,
                       uint8_t tag[LETHE_TAG_BYTES])
{
    EVP_CIPHER_CTX *context = begin(message, true);
    uint8_t none[1];
    int done;

    if (!context) {
        return false;
    }
    transform(context, message, plain, len, out);
    must(EVP_CipherFinal_ex(context, none, &done));
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, LETHE_TAG_BYTES, tag));
    EVP_CIPHER_CTX_free(context);
    return true;
}

bool lethe_chacha_open(const struct lethe_chacha_message *message, const uint8_t *sealed, size_t len,
                       const uint8_t tag[LETHE_TAG_BYTES], uint8_t *out, bool *valid)
{
    EVP_CIPHER_CTX *context = begin(message, false);
    uint8_t expected[LETHE_TAG_BYTES], none[1];
    int done;

    if (!context) {
        return false;
    }
    memcpy(expected, tag, sizeof expected);
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, LETHE_TAG_BYTES, expected));
    transform(context, message, sealed, len, out);
    *valid = EVP_CipherFinal_ex(context, none, &done) == 1;
    EVP_CIPHER_CTX_free(context);
    if (!*valid) {
        lethe_wipe(out, len); /* it was decrypted on the way */
    }
    return true;
}

#else

void lethe_chacha_start(void)
{
}

bool lethe_chacha_seal(const struct lethe_chacha_message *message, const uint8_t *plain, size_t len, uint8_t *out,
                       uint8_t tag[LETHE_TAG_BYTES])
{
    (void)message, (void)plain, (void)len, (void)out, (void)tag;
    return false;
}

bool lethe_chacha_open(const struct lethe_chacha_message *message, const uint8_t *sealed, size_t len,
                       const uint8_t tag[LETHE_TAG_BYTES], uint8_t *out, bool *valid)
{
    (void)message, (void)sealed, (void)len, (void)tag, (void)out, (void)valid;
    return false;
}

#endif
