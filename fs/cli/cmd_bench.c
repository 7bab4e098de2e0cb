/* SPDX-License-Identifier: MIT */
/* Measures the engine on pictures, and a store: nothing here is remembered, every figure is of this run. */
#include "fs/cli/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cli/drawn.h"
#include "fs/file.h"
#include "lethe/seal.h"

#define DRAWN 4 /* pictures, each as PNG and JPEG */
#define STORE_MAX (UINT64_C(4) << 30)

struct part {
    const char *name, *what;
    enum lethe_err (*run)(struct bench *bench, struct lethe_pool *pool, json_t *object);
};

static const struct part parts[] = {
    {"totals", "sizes", lethe_bench_totals},
    {"quality", "quality of artifacts", lethe_bench_quality},
    {"latency", "a large JPEG", lethe_bench_latency},
    {"rivals", "other programs", lethe_bench_rivals},
};
#define PARTS (sizeof parts / sizeof *parts)

/* Whether name is among the words of a list with commas; a NULL list has all. */
static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0')) {
            return true;
        }
    }
    return !list;
}

static bool list_is_known(const char *list)
{
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        size_t len = strcspn(at, ",");
        bool known = len == 5 && (strncmp(at, "speed", len) == 0 || strncmp(at, "store", len) == 0);

        for (size_t i = 0; i < PARTS; i++) {
            known = known || (strlen(parts[i].name) == len && strncmp(at, parts[i].name, len) == 0);
        }
        if (!known) {
            return false;
        }
    }
    return true;
}

static void drawn_path(const char *folder, unsigned number, const char *suffix, char *out, size_t room)
{
    snprintf(out, room, "%s/landscape-%u.%s", folder, number + 1, suffix);
}

static enum lethe_err draw(const char *folder)
{
    static const uint32_t sizes[DRAWN][2] = {{640, 427}, {800, 600}, {333, 501}, {512, 512}};

    for (unsigned i = 0; i < DRAWN; i++) {
        struct lethe_raster raster;
        struct lethe_buf png = {0}, jpeg = {0};
        char path[600];
        enum lethe_err err = lethe_raster_init(&raster, sizes[i][0], sizes[i][1], 3, 8);

        if (!err) {
            lethe_drawn_landscape(&raster, i + 1);
            err = lethe_png_write(&raster, BENCH_ZLIB_LEVEL, &png);
        }
        err = err ? err : lethe_jpeg_write(&raster, 75 + 6 * (int)i, i % 2, &jpeg);
        drawn_path(folder, i, "png", path, sizeof path);
        err = err ? err : lethe_file_write_durably(path, png.data, png.len, 0600);
        drawn_path(folder, i, "jpg", path, sizeof path);
        err = err ? err : lethe_file_write_durably(path, jpeg.data, jpeg.len, 0600);
        lethe_raster_release(&raster);
        lethe_buf_release(&png);
        lethe_buf_release(&jpeg);
        if (err) {
            return err;
        }
    }
    return LETHE_OK;
}

/* Pictures alone, at most most of them, evenly spaced in the order of their paths. */
static void choose(struct lethe_paths *paths, size_t most)
{
    size_t kept = 0, count;

    lethe_paths_sort(paths);
    for (size_t i = 0; i < paths->count; i++) {
        struct bench_file file;

        if (lethe_bench_read(paths->path[i], &file)) {
            free(paths->path[i]);
            continue;
        }
        lethe_bench_file_release(&file);
        paths->path[kept++] = paths->path[i];
    }
    count = kept;
    kept = 0;
    for (size_t i = 0; i < count; i++) { /* i is kept when the count of kept ones up to it grows */
        if (most == 0 || count <= most || (i + 1) * most / count > i * most / count) {
            paths->path[kept++] = paths->path[i];
        } else {
            free(paths->path[i]);
        }
    }
    paths->count = kept;
}

static void print_flat(const json_t *value, char *name, size_t len, size_t room)
{
    const char *key;
    json_t *member;
    size_t i;

    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            int more = snprintf(name + len, room - len, "%s%s", len ? "." : "", key);

            print_flat(member, name, len + (size_t)more < room ? len + (size_t)more : room - 1, room);
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, member)
        {
            int more = snprintf(name + len, room - len, "[%zu]", i);

            print_flat(member, name, len + (size_t)more < room ? len + (size_t)more : room - 1, room);
        }
    } else if (json_is_string(value)) {
        printf("%-48s %s\n", name, json_string_value(value));
    } else if (json_is_integer(value)) {
        printf("%-48s %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(value));
    } else {
        printf("%-48s %.4g\n", name, json_number_value(value));
    }
    name[len] = '\0';
}

static enum lethe_err run_parts(struct bench *bench, const char *list, json_t *object)
{
    struct lethe_pool *pool = NULL;
    enum lethe_err err = LETHE_OK;

    if (listed(list, "speed")) {
        lethe_progress_start(&bench->progress, "speed");
        err = lethe_bench_speed(bench, object);
        lethe_progress_end(&bench->progress);
    }
    err = err ? err : lethe_seal_start();
    err = err ? err : lethe_pool_new(bench->threads, &pool);
    if (!err) {
        bench->pair = lethe_pair_shipped(0);
        err = bench->pair ? err : LETHE_ERR_NOT_FOUND;
        json_object_set_new(object, "kernel", json_string(lethe_nn_kernel()));
    }
    for (size_t i = 0; i < PARTS && !err; i++) {
        if (listed(list, parts[i].name)) {
            lethe_progress_start(&bench->progress, parts[i].what);
            err = parts[i].run(bench, pool, object);
            lethe_progress_end(&bench->progress);
        }
    }
    lethe_pool_free(pool);
    return err;
}

static void remove_drawn(const char *folder)
{
    for (unsigned i = 0; i < 2 * DRAWN; i++) {
        char path[600];

        drawn_path(folder, i / 2, i % 2 ? "jpg" : "png", path, sizeof path);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

/* The pictures, and the folder of drawn ones when there are no others. Errors have been said. */
static enum lethe_err find(struct bench *bench, const char *const *folders, size_t count, size_t most,
                           char *drawn, bool *was_drawn)
{
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < count && !err; i++) {
        err = lethe_paths_add(&bench->paths, folders[i]);
    }
    if (count == 0) {
        *was_drawn = mkdtemp(drawn) != NULL;
        err = *was_drawn ? draw(drawn) : LETHE_ERR_IO;
        if (err) {
            (void)lethe_cli_fail(err, "pictures cannot be drawn into %s: %s", drawn, lethe_err_str(err));
        }
        err = err ? err : lethe_paths_add(&bench->paths, drawn);
    }
    if (!err) {
        choose(&bench->paths, most);
        if (bench->paths.count == 0) {
            err = LETHE_ERR_NOT_FOUND;
            (void)lethe_cli_fail(err, "there is no PNG and no JPEG in these folders");
        }
    }
    return err;
}

int lethe_cmd_bench(int argc, char **argv)
{
    struct bench bench = {.strength = 2};
    struct bench_store_options store = {.objects = 200, .object_size = 1500000};
    const char *args[64], *svg = NULL, *list = NULL, *effort = "fast";
    uint64_t most = 0, strength = 2, threads = 0, rounds = 3;
    bool json = false, was_drawn = false, pictures;
    const struct lethe_option options[] = {
        {"json", LETHE_OPTION_FLAG, &json, 0, 0, "print one JSON object"},
        {"svg", LETHE_OPTION_TEXT, &svg, 0, 0, "FILE rate against distortion as a picture"},
        {"parts", LETHE_OPTION_TEXT, &list, 0, 0, "LIST of totals,quality,latency,rivals,speed,store (all)"},
        {"pictures", LETHE_OPTION_NUMBER, &most, 1, 1000000, "N at most so many, evenly spaced"},
        {"strength", LETHE_OPTION_NUMBER, &strength, 0, 3, "N of the artifacts in totals and speeds (2)"},
        {"effort", LETHE_OPTION_TEXT, &effort, 0, 0, "fast or strong (fast)"},
        {"threads", LETHE_OPTION_NUMBER, &threads, 1, 256, "N at most so many (one for each processor)"},
        {"store", LETHE_OPTION_TEXT, &store.location, 0, 0, "s3://BUCKET/PREFIX to measure beside other programs"},
        {"objects", LETHE_OPTION_NUMBER, &store.objects, 1, 99999, "N files for the store (200)"},
        {"object-size", LETHE_OPTION_SIZE, &store.object_size, 0, 0, "SIZE of each (1.5 MB)"},
        {"rounds", LETHE_OPTION_NUMBER, &rounds, 1, 9, "N of which the median counts (3)"},
        LETHE_CLI_STORE_OPTIONS("", store.store),
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {
        .name = "bench",
        .usage = "[FOLDER]... [OPTION]...",
        .about = "Measures the engine on pictures, drawn ones when none are given, and a store beside other programs.",
        .max_args = 64,
        .options = options};
    const char *temporary = getenv("TMPDIR");
    char drawn[512], name[512] = "";
    json_t *object;
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (!list_is_known(list)) {
        return lethe_cli_usage("bench: --parts takes names of totals,quality,latency,rivals,speed,store, not '%s'",
                               list);
    }
    if (strcmp(effort, "fast") != 0 && strcmp(effort, "strong") != 0) {
        return lethe_cli_usage("bench: --effort takes fast or strong, not '%s'", effort);
    }
    if (svg && !listed(list, "quality")) {
        return lethe_cli_usage("bench: --svg draws what the part quality measures");
    }
    if (list && listed(list, "store") && !store.location) {
        return lethe_cli_usage("bench: the part store needs --store s3://BUCKET/PREFIX");
    }
    if (store.location && (strncmp(store.location, "s3://", 5) != 0 || store.location[5] == '\0')) {
        return lethe_cli_usage("bench: --store takes s3://BUCKET/PREFIX, not '%s'", store.location);
    }
    if (store.object_size < 1 || store.object_size > BENCH_FILE_MAX || store.objects * store.object_size > STORE_MAX) {
        return lethe_cli_usage("bench: --objects of --object-size are held in memory: at most 4 GB together");
    }
    store.rounds = (unsigned)rounds;
    pictures = listed(list, "speed");
    for (size_t i = 0; i < PARTS; i++) {
        pictures = pictures || listed(list, parts[i].name);
    }
    bench.strength = (unsigned)strength;
    bench.effort = strcmp(effort, "strong") == 0 ? LETHE_EFFORT_STRONG : LETHE_EFFORT_FAST;
    bench.threads = threads ? (unsigned)threads : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    object = json_pack("{s:s, s:s, s:i, s:i}", "version", LETHE_VERSION, "effort", effort, "strength",
                       (int)strength, "threads", (int)bench.threads);
    snprintf(drawn, sizeof drawn, "%.300s/lethefs-drawn-XXXXXX",
             temporary && temporary[0] == '/' ? temporary : "/tmp");
    err = pictures ? find(&bench, args, count, (size_t)most, drawn, &was_drawn) : LETHE_OK;
    code = lethe_exit_code(err);
    if (!err && pictures) {
        json_object_set_new(object, "pictures", json_integer((json_int_t)bench.paths.count));
        err = run_parts(&bench, list, object);
        code = err ? lethe_cli_fail(err, "the measurement failed: %s", lethe_err_str(err)) : LETHE_EXIT_DONE;
    }
    if (!err && store.location && listed(list, "store")) {
        lethe_progress_start(&bench.progress, "store");
        err = lethe_bench_store(&store, &bench.progress, object);
        lethe_progress_end(&bench.progress);
        code = lethe_exit_code(err);
    }
    if (!err && svg) {
        struct lethe_buf picture = {0};

        lethe_bench_plot(object, &picture);
        err = lethe_buf_status(&picture);
        err = err ? err : lethe_file_write_output(svg, picture.data, picture.len, 0644);
        code = err ? lethe_cli_fail(err, "%s cannot be written: %s", svg, lethe_err_str(err)) : code;
        lethe_buf_release(&picture);
    }
    if (was_drawn) {
        remove_drawn(drawn);
    }
    lethe_paths_release(&bench.paths);
    if (err || !json) {
        if (!err) {
            print_flat(object, name, 0, sizeof name);
        }
        json_decref(object);
        return code;
    }
    return lethe_cli_print_json(object, code);
}
