/* SPDX-License-Identifier: MIT */
#include "fs/cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/mount/daemon.h"
#include "fs/place.h"

/* What -o may hold besides the kernel's own options; from fstab everything arrives this way. */
struct mount_words {
    bool read_only, allow_other, sync_vault, degraded, no_readahead, plain, offline, nonempty;
    bool no_atime, no_dir_atime, strict_atime;
    const char *passfile, *extpass, *cache_size, *cache_dir, *state_dir, *at, *epoch, *effort, *timeout, *residuals;
    struct lethe_store_options store;
    char more[1024];
};

static int take_word(struct mount_words *words, char *word)
{
    static const char *const ignored[] = {"rw", "defaults", "user", "users", "noauto", "auto", "nofail", "_netdev",
                                          "exec", "suid", "dev", "async", "relatime", "diratime", "atime",
                                          "norelatime", "nostrictatime", "owner", "group", "nouser", "_rnetdev"};
    const struct {
        const char *name;
        const char **target;
    } texts[] = {{"passfile=", &words->passfile},     {"extpass=", &words->extpass},
                 {"cache-size=", &words->cache_size}, {"cache-dir=", &words->cache_dir},
                 {"state-dir=", &words->state_dir},   {"at=", &words->at},
                 {"epoch=", &words->epoch},
                 {"timeout=", &words->timeout},
                 {"effort=", &words->effort},
                 {"residuals=", &words->residuals},
                 {"endpoint=", &words->store.endpoint},
                 {"region=", &words->store.region},
                 {"cacert=", &words->store.ca_file},
                 {"credentials=", &words->store.credentials},
                 {"profile=", &words->store.profile}};
    static const char *const kernel[] = {"noexec", "nosuid", "nodev", "noatime", "sync", "dirsync"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t len = strlen(texts[i].name);

        if (strncmp(word, texts[i].name, len) == 0) {
            *texts[i].target = word + len;
            return -1;
        }
    }
    if (strcmp(word, "ro") == 0) {
        words->read_only = true;
    } else if (strcmp(word, "allow_other") == 0) {
        words->allow_other = true;
    } else if (strcmp(word, "degraded") == 0) {
        words->degraded = true;
        words->read_only = true;
    } else if (strcmp(word, "offline") == 0) {
        words->offline = true;
    } else if (strcmp(word, "nonempty") == 0) {
        words->nonempty = true;
    } else if (strcmp(word, "noreadahead") == 0) {
        words->no_readahead = true;
    } else if (strcmp(word, "cache=plain") == 0) {
        words->plain = true;
    } else if (strcmp(word, "sync=vault") == 0) {
        words->sync_vault = true;
    } else if (strcmp(word, "sync=device") == 0) {
        words->sync_vault = false;
    } else if (strcmp(word, "nodiratime") == 0) {
        words->no_dir_atime = true;
    } else if (strcmp(word, "strictatime") == 0) {
        words->strict_atime = true;
    } else if (strcmp(word, "path-style") == 0) {
        words->store.path_style = true;
    } else if (strcmp(word, "host-style") == 0) {
        words->store.host_style = true;
    } else {
        for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
            if (strcmp(word, ignored[i]) == 0) {
                return -1;
            }
        }
        if (strncmp(word, "x-", 2) == 0 || strncmp(word, "comment=", 8) == 0 || strncmp(word, "user=", 5) == 0) {
            return -1;
        }
        words->no_atime |= strcmp(word, "noatime") == 0;
        for (size_t i = 0; i < sizeof kernel / sizeof *kernel; i++) {
            if (strcmp(word, kernel[i]) == 0 && strlen(words->more) + strlen(word) + 2 < sizeof words->more) {
                strcat(words->more, *words->more ? "," : "");
                strcat(words->more, word);
                return -1;
            }
        }
        return lethe_cli_usage("mount: unknown option -o %s", word);
    }
    return -1;
}

/* Cuts every list at its commas, in place. */
static int take_words(struct mount_words *words, struct lethe_cli_list *lists, char **copies)
{
    for (size_t i = 0; i < lists->count; i++) {
        char *rest;

        copies[i] = strdup(lists->values[i]);
        rest = copies[i];
        while (rest) {
            char *word = strsep(&rest, ",");
            int code = *word ? take_word(words, word) : -1;

            if (code >= 0) {
                return code;
            }
        }
    }
    return -1;
}

static int check_mountpoint(const char *path)
{
    struct stat stat_buf;

    if (stat(path, &stat_buf)) {
        if (errno == ENOTCONN) {
            return lethe_cli_fail(LETHE_ERR_BUSY, "what was mounted at %s has died: unmount it first: umount %s", path, path);
        }
        return lethe_cli_fail(LETHE_ERR_NOT_FOUND, "the mount point %s cannot be used: make the folder first", path);
    }
    if (!S_ISDIR(stat_buf.st_mode)) {
        return lethe_cli_fail(LETHE_ERR_NOT_FOUND, "the mount point %s is no folder", path);
    }
    return -1;
}

/* A mount that hides its own vault would wait for itself; one that hides a part of it would miss that. */
static int check_not_over(const char *mountpoint, const char *location)
{
    if (lethe_place_within(location, mountpoint)) {
        return lethe_cli_usage("mount: %s would hide the vault in %s: choose another mount point", mountpoint, location);
    }
    if (lethe_place_within(mountpoint, location)) {
        return lethe_cli_usage("mount: %s lies in the vault in %s: choose another mount point", mountpoint, location);
    }
    return -1;
}

/* Something is mounted there: what the folder shows is not its own. */
static bool is_mountpoint(const char *path)
{
    char above[PATH_MAX + 4];
    struct stat here, there;

    snprintf(above, sizeof above, "%s/..", path);
    return !stat(path, &here) && !stat(above, &there) && here.st_dev != there.st_dev;
}

static const char *pick(const char *option, const char *word)
{
    return option ? option : word;
}

/* What the options do not say of the store, -o does. */
static void pick_store(struct lethe_store_options *store, const struct lethe_store_options *words)
{
    store->endpoint = pick(store->endpoint, words->endpoint);
    store->region = pick(store->region, words->region);
    store->ca_file = pick(store->ca_file, words->ca_file);
    store->credentials = pick(store->credentials, words->credentials);
    store->profile = pick(store->profile, words->profile);
    if (!store->path_style && !store->host_style) {
        store->path_style = words->path_style;
        store->host_style = words->host_style;
    }
}

int lethe_cmd_mount(int argc, char **argv)
{
    struct mount_words words = {0};
    struct lethe_cli_list lists = {.count = 0};
    const char *passfile = NULL, *extpass = NULL, *cache_size = NULL, *cache_dir = NULL, *state_dir = NULL, *at = NULL;
    const char *residuals = NULL;
    const char *epoch = NULL, *effort = NULL, *timeout = NULL, *args[2];
    struct lethe_daemon_options daemon = {0};
    bool foreground = false, offline = false;
    const struct lethe_option options[] = {
        {"f", LETHE_OPTION_FLAG, &foreground, 0, 0, "stay in the foreground"},
        {"o", LETHE_OPTION_LIST, &lists, 0, 0, "LIST ro, allow_other, degraded, sync=device|vault, ..."},
        {"cache-size", LETHE_OPTION_TEXT, &cache_size, 0, 0, "SIZE bound of cache and state (10G)"},
        {"cache-dir", LETHE_OPTION_TEXT, &cache_dir, 0, 0, "DIR instead of the cache folder"},
        {"state-dir", LETHE_OPTION_TEXT, &state_dir, 0, 0, "DIR instead of the state folder"},
        {"at", LETHE_OPTION_TEXT, &at, 0, 0, "TIME show a past moment, read-only"},
        {"epoch", LETHE_OPTION_TEXT, &epoch, 0, 0, "DURATION of activity between epochs (5s)"},
        {"timeout", LETHE_OPTION_TEXT, &timeout, 0, 0, "DURATION that a read waits for the vault (60s)"},
        {"effort", LETHE_OPTION_TEXT, &effort, 0, 0, "LEVEL fast (default) or strong"},
        {"passfile", LETHE_OPTION_TEXT, &passfile, 0, 0, "FILE passphrase from its first bytes"},
        {"extpass", LETHE_OPTION_TEXT, &extpass, 0, 0, "COMMAND passphrase from its output"},
        {"take-over", LETHE_OPTION_FLAG, &daemon.session.take_over, 0, 0, "bind the vault to this device"},
        {"offline", LETHE_OPTION_FLAG, &offline, 0, 0, "keep what mounting without the vault takes, and use it"},
        LETHE_CLI_STORE_OPTIONS("", daemon.session.store),
        LETHE_CLI_RATE_OPTIONS(daemon.session.store),
        LETHE_CLI_RESIDUALS_OPTIONS(residuals, daemon.session.residuals_store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "mount", .usage = "VAULT MOUNTPOINT [OPTION]...",
                                          .about = "Shows a vault as an ordinary folder.", .min_args = 2,
                                          .max_args = 2, .options = options};
    struct lethe_cli_secret secret = {0};
    char *copies[256] = {0};
    char mountpoint[4096];
    int64_t seconds = 0, wait_seconds = 0;
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code < 0) {
        code = take_words(&words, &lists, copies);
    }
    if (code >= 0) {
        goto out;
    }
    if (daemon.session.take_over && (words.read_only || pick(at, words.at))) {
        code = lethe_cli_usage("mount: --take-over is for a mount that writes: leave -o ro and --at out");
        goto out;
    }
    if ((offline || words.offline) && (daemon.session.take_over || words.degraded || pick(at, words.at))) {
        code = lethe_cli_usage("mount: --offline is for a mount of the present: leave --take-over, --at and degraded out");
        goto out;
    }
    daemon.session.offline = offline || words.offline ? LETHE_OFFLINE_KEEP : LETHE_OFFLINE_FORGET;
    daemon.session.at = INT64_MAX;
    pick_store(&daemon.session.store, &words.store);
    if (pick(cache_size, words.cache_size) &&
        lethe_cli_size(pick(cache_size, words.cache_size), &daemon.session.cache_size)) {
        code = lethe_cli_usage("mount: --cache-size takes a size such as 512M or 20G");
        goto out;
    }
    if (pick(at, words.at) && lethe_cli_time(pick(at, words.at), &daemon.session.at)) {
        code = lethe_cli_usage("mount: --at takes a time such as 2026-01-31T12:00:00 or 2d");
        goto out;
    }
    if (pick(epoch, words.epoch) && (lethe_cli_duration(pick(epoch, words.epoch), &seconds) || seconds < 1 ||
                                     seconds > 86400)) {
        code = lethe_cli_usage("mount: --epoch takes a duration from 1s to 1d");
        goto out;
    }
    if (pick(timeout, words.timeout) &&
        (lethe_cli_duration(pick(timeout, words.timeout), &wait_seconds) || wait_seconds < 1 || wait_seconds > 86400)) {
        code = lethe_cli_usage("mount: --timeout takes a duration from 1s to 1d");
        goto out;
    }
    effort = pick(effort, words.effort);
    effort = effort ? effort : "fast";
    if (strcmp(effort, "fast") != 0 && strcmp(effort, "strong") != 0) {
        code = lethe_cli_usage("mount: --effort is fast or strong, not '%s'", effort);
        goto out;
    }
    code = check_mountpoint(args[1]);
    if (code >= 0) {
        goto out;
    }
    if (!realpath(args[1], mountpoint)) {
        code = lethe_cli_fail(LETHE_ERR_NOT_FOUND, "the mount point %s cannot be used", args[1]);
        goto out;
    }
    code = check_not_over(mountpoint, args[0]);
    if (code < 0 && !words.nonempty && !is_mountpoint(mountpoint) && lethe_place_holds_others(mountpoint, NULL, 0)) {
        code = lethe_cli_usage("mount: %s is not empty: choose an empty folder, or give -o nonempty to hide what is in it",
                               args[1]);
    }
    if (code >= 0) {
        goto out;
    }
    err = lethe_cli_passphrase(pick(passfile, words.passfile), pick(extpass, words.extpass), "Passphrase", false,
                               &secret);
    if (!err) {
        daemon.session.location = args[0];
        daemon.session.state_root = pick(state_dir, words.state_dir);
        daemon.session.cache_root = pick(cache_dir, words.cache_dir);
        daemon.session.passphrase = secret.text;
        daemon.session.passphrase_len = secret.len;
        daemon.session.effort = strcmp(effort, "strong") == 0 ? LETHE_EFFORT_STRONG : LETHE_EFFORT_FAST;
        daemon.session.epoch_ms = (unsigned)(seconds * 1000);
        daemon.session.timeout_ms = (unsigned)(wait_seconds * 1000);
        daemon.session.publish = !words.read_only && daemon.session.at == INT64_MAX;
        daemon.session.diverged = !daemon.session.publish;
        daemon.session.residuals = pick(residuals, words.residuals);
        daemon.session.degraded = words.degraded;
        daemon.session.no_atime = words.no_atime || words.read_only;
        daemon.session.no_dir_atime = words.no_dir_atime;
        daemon.session.strict_atime = words.strict_atime;
        if (words.degraded && daemon.session.at == INT64_MAX) { /* beside whatever is mounted */
            daemon.session.at = LETHE_SESSION_NEWEST;
        }
        daemon.session.owner = (struct lethe_owner){.uid = getuid(), .gid = getgid()};
        daemon.mountpoint = mountpoint;
        daemon.foreground = foreground;
        daemon.read_only = words.read_only;
        daemon.allow_other = words.allow_other;
        daemon.sync_vault = words.sync_vault;
        daemon.no_readahead = words.no_readahead;
        daemon.plain = words.plain && daemon.session.at == INT64_MAX;
        daemon.more = *words.more ? words.more : NULL;
        err = lethe_daemon_run(&daemon);
    }
    code = lethe_exit_code(err);
out:
    for (size_t i = 0; i < lists.count; i++) {
        free(copies[i]);
    }
    lethe_cli_secret_free(&secret);
    return code;
}
