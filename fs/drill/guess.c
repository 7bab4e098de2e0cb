/* SPDX-License-Identifier: MIT */
/*
 * The price of the passphrase. Each guess is timed on this machine, by the very function that opens a vault; a thief
 * without the device secret guesses that too, and his every guess fails whatever the passphrase is.
 */
#include <math.h>
#include <time.h>

#include "fs/drill/drill.h"

#define GUESSES 3
#define YEAR (365.25 * 86400)

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

enum lethe_err drill_guessing(struct drill *drill)
{
    static const double bits[] = {20, 40, 60};
    const struct drill_options *options = drill->options;
    json_t *prices = json_array();
    double started, each = 0;
    size_t opened = 0;
    enum lethe_err err = LETHE_OK;

    for (unsigned i = 0; i < GUESSES && !err; i++) {
        struct lethe_secret *device = NULL, *master = NULL;
        char guess[16] = "guess number 0";

        guess[13] = (char)('0' + i);
        drill_progress(drill, "guessing", i, GUESSES);
        err = lethe_secret_random(lethe_random_system(), &device);
        if (err) {
            break;
        }
        started = now();
        /* The right passphrase, where it is known: the stolen bucket is the same to who has no device secret. */
        err = lethe_vault_file_unlock(drill->file, options->passphrase ? options->passphrase : guess,
                                      options->passphrase ? options->passphrase_len : sizeof guess - 2, device, &master);
        each += (now() - started) / GUESSES;
        opened += !err;
        err = err == LETHE_ERR_KEY ? LETHE_OK : err;
        lethe_secret_free(device);
        lethe_secret_free(master);
    }
    if (opened) {
        drill_weakness(drill, "device secret not needed", "a passphrase opened the vault without its device secret");
    }
    each /= (double)lethe_vault_file_slots(drill->file); /* a guess is tried on every slot */
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        (void)json_array_append_new(prices, json_pack("{s:f, s:f}", "bits_of_passphrase", bits[i], "core_years",
                                                      exp2(bits[i] - 1) * each / YEAR));
    }
    (void)json_object_set_new(
        drill->report, "guessing",
        json_pack("{s:f, s:f, s:s, s:I, s:I, s:o}", "seconds_a_guess", each, "guesses_a_second", each > 0 ? 1 / each : 0.0,
                  "bits_of_device_secret", "256", "tried_without_device_secret", (json_int_t)GUESSES, "opened",
                  (json_int_t)opened, "with_device_secret", prices));
    return err;
}
