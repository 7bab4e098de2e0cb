/* SPDX-License-Identifier: MIT */
/*
 * Who we are to a store, and where it is, from the places where the tools of Amazon look: the environment,
 * then
 * ~/.aws/credentials and ~/.aws/config (their "Shared Config and Credentials Files" reference).
 */
#ifndef LETHE_BACKENDS_CREDENTIALS_H
#define LETHE_BACKENDS_CREDENTIALS_H

#include <stddef.h>
#include <stdint.h>

#include "lethe/err.h"

/* Text, each ended by a zero; "" is none. Lives in secret memory. */
struct lethe_credentials {
    char access[256];
    char secret[512];
    char token[8192];
    char region[64];
    char endpoint[512];
    char ca_file[4096];
    int64_t expires; /* seconds since 1970; 0: never, as far as is known */
};

/* Where a person said to look; NULL: as the environment says. Then keys in the environment do not count. */
struct lethe_credentials_source {
    char *file;    /* instead of ~/.aws/credentials */
    char *profile; /* a section's name */
};

/*
 * The credentials, and region, endpoint and CA file where something names them. Freed by the caller.
 * LETHE_ERR_KEY when there are none, or a profile is asked for that does not exist; one line was logged.
 */
enum lethe_err lethe_credentials_load(const struct lethe_credentials_source *source,
                                      struct lethe_credentials **out) LETHE_MUST_CHECK;
/*
 * Adds the keys that the container's or the instance's endpoint gives (backends/metadata.c). LETHE_ERR_NOT_FOUND: there
 * is none; LETHE_ERR_KEY after a line in the log: a container's endpoint is named and gives none.
 */
enum lethe_err lethe_credentials_metadata(struct lethe_credentials *credentials) LETHE_MUST_CHECK;
/* Takes keys, token and expiry from such an endpoint's answer, a flat JSON object of strings. LETHE_ERR_FORMAT. */
enum lethe_err lethe_credentials_json(const char *text, size_t len,
                                      struct lethe_credentials *credentials) LETHE_MUST_CHECK;
/* Wipes and frees. NULL does nothing. */
void lethe_credentials_free(struct lethe_credentials *credentials);

/*
 * Takes from an INI file's text what it says of a profile, as far as credentials do not have it yet. config:
 * sections are called "profile NAME" (but "default"). *found: the profile is there. LETHE_ERR_FORMAT when a
 * value is too long.
 */
enum lethe_err lethe_credentials_parse(const char *text, size_t len, const char *profile, int config,
                                       struct lethe_credentials *credentials, int *found) LETHE_MUST_CHECK;

#endif
