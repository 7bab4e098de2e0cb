/* SPDX-License-Identifier: MIT */
/* The adapter to libcurl. Threads: any number; the pool's state is guarded by its lock. */
#include "backends/http.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "lethe/log.h"

#define IN_FLIGHT 32
#define IN_FLIGHT_MAX 256
#define TIMEOUT_MS 60000
#define CONNECT_MS 10000
#define SILENCE_S 30
#define BYTES_PER_MS 16         /* slower than this, beyond the timeout, is too slow */
#define IO_BUFFER (128l << 10)  /* each way of each handle */
#define RESERVE_MAX (16u << 20) /* what a length is believed before its bytes have come */
#define RETRY_AFTER_MAX_S 60

struct slot {
    CURL *easy;
    struct slot *next;
};

struct lethe_http {
    unsigned most, timeout_ms;
    bool nearby;
    char *ca_file;
    CURLSH *share; /* names and TLS sessions; connections stay with their handles */
    pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
    pthread_mutex_t lock;
    pthread_cond_t freed;
    /* Guarded by lock: */
    struct slot *free;
    unsigned busy, limit;
    unsigned successes;  /* in a row, towards a higher limit */
    uint64_t not_before; /* ms, as Retry-After asks */
    uint64_t lowered_at; /* ms */
    atomic_bool away;    /* the last request found nobody */
    atomic_ullong heard; /* ms: when bytes moved last, or requests began after a pause */
};

/* One request under way. */
struct transfer {
    struct lethe_http *http;
    const struct lethe_http_request *request;
    struct lethe_http_response *response;
    CURL *easy;
    uint64_t start, sent, seen;
    size_t out_start;
    bool reserved, chunked;
    bool headed; /* the empty line behind the headers has come */
    enum lethe_err err;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool curl_ready;

static void start_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void share_lock(CURL *easy, curl_lock_data data, curl_lock_access access, void *context)
{
    (void)easy;
    (void)access;
    pthread_mutex_lock(&((struct lethe_http *)context)->share_locks[data]);
}

static void share_unlock(CURL *easy, curl_lock_data data, void *context)
{
    (void)easy;
    pthread_mutex_unlock(&((struct lethe_http *)context)->share_locks[data]);
}

enum lethe_err lethe_http_new(const struct lethe_http_options *options, struct lethe_http **out)
{
    struct lethe_http *http;
    pthread_condattr_t attributes;

    *out = NULL;
    pthread_once(&once, start_curl);
    http = curl_ready ? calloc(1, sizeof *http) : NULL;
    if (!http) {
        return LETHE_ERR_NOMEM;
    }
    http->most = options->in_flight ? options->in_flight : IN_FLIGHT;
    http->most = http->most < IN_FLIGHT_MAX ? http->most : IN_FLIGHT_MAX;
    http->limit = http->most;
    http->nearby = options->nearby;
    http->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
    pthread_mutex_init(&http->lock, NULL);
    for (size_t i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        pthread_mutex_init(&http->share_locks[i], NULL);
    }
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&http->freed, &attributes);
    pthread_condattr_destroy(&attributes);
    http->share = curl_share_init();
    if (options->ca_file && options->ca_file[0]) {
        http->ca_file = realpath(options->ca_file, NULL); /* a daemon may change its folder */
        http->ca_file = http->ca_file ? http->ca_file : strdup(options->ca_file);
    }
    if (!http->share || (options->ca_file && options->ca_file[0] && !http->ca_file)) {
        lethe_http_free(http);
        return LETHE_ERR_NOMEM;
    }
    curl_share_setopt(http->share, CURLSHOPT_LOCKFUNC, share_lock);
    curl_share_setopt(http->share, CURLSHOPT_UNLOCKFUNC, share_unlock);
    curl_share_setopt(http->share, CURLSHOPT_USERDATA, http);
    curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    *out = http;
    return LETHE_OK;
}

void lethe_http_free(struct lethe_http *http)
{
    if (!http) {
        return;
    }
    while (http->free) {
        struct slot *slot = http->free;

        http->free = slot->next;
        curl_easy_cleanup(slot->easy);
        free(slot);
    }
    curl_share_cleanup(http->share);
    for (size_t i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        pthread_mutex_destroy(&http->share_locks[i]);
    }
    pthread_cond_destroy(&http->freed);
    pthread_mutex_destroy(&http->lock);
    free(http->ca_file);
    free(http);
}

unsigned lethe_http_limit(struct lethe_http *http)
{
    unsigned limit;

    pthread_mutex_lock(&http->lock);
    limit = http->limit;
    pthread_mutex_unlock(&http->lock);
    return limit;
}

unsigned lethe_http_quiet_ms(struct lethe_http *http)
{
    uint64_t now = now_ms(), heard = atomic_load(&http->heard), quiet = now > heard ? now - heard : 0;
    bool idle;

    pthread_mutex_lock(&http->lock);
    idle = http->busy == 0;
    pthread_mutex_unlock(&http->lock);
    return idle ? 0 : quiet < UINT_MAX ? (unsigned)quiet : UINT_MAX;
}

/* Waits for a place, at most until the request's time is up, and takes a handle. */
static enum lethe_err borrow(struct lethe_http *http, struct slot **out)
{
    uint64_t deadline = now_ms() + http->timeout_ms, now;
    struct slot *slot = NULL;

    pthread_mutex_lock(&http->lock);
    while ((now = now_ms()) < deadline && (http->busy >= http->limit || now < http->not_before)) {
        uint64_t until = now < http->not_before && http->not_before < deadline ? http->not_before : deadline;
        struct timespec at = {.tv_sec = (time_t)(until / 1000), .tv_nsec = (long)(until % 1000) * 1000000};

        pthread_cond_timedwait(&http->freed, &http->lock, &at);
    }
    if (now >= deadline) {
        pthread_mutex_unlock(&http->lock);
        return LETHE_ERR_UNREACHABLE;
    }
    if (http->busy++ == 0) {
        atomic_store(&http->heard, now);
    }
    slot = http->free;
    if (slot) {
        http->free = slot->next;
    }
    pthread_mutex_unlock(&http->lock);
    if (!slot) {
        slot = calloc(1, sizeof *slot);
        if (slot) {
            slot->easy = curl_easy_init();
        }
        if (!slot || !slot->easy) {
            free(slot);
            pthread_mutex_lock(&http->lock);
            http->busy--;
            pthread_cond_signal(&http->freed);
            pthread_mutex_unlock(&http->lock);
            return LETHE_ERR_NOMEM;
        }
    }
    *out = slot;
    return LETHE_OK;
}

/* Gives the handle back and learns from the answer how many requests the server takes. */
static void give_back(struct lethe_http *http, struct slot *slot, enum lethe_err err,
                      const struct lethe_http_response *response)
{
    uint64_t now = now_ms();

    curl_easy_reset(slot->easy); /* drops every pointer into the request; keeps the connection */
    pthread_mutex_lock(&http->lock);
    http->busy--;
    slot->next = http->free;
    http->free = slot;
    if (!err && (response->status == 503 || response->status == 429)) {
        /* Many answers of one moment count once. */
        if (now - http->lowered_at >= 1000 || http->lowered_at == 0) {
            http->limit = http->limit > 1 ? http->limit / 2 : 1;
            http->lowered_at = now;
        }
        http->successes = 0;
        if (now + response->retry_after_s * UINT64_C(1000) > http->not_before) {
            http->not_before = now + response->retry_after_s * UINT64_C(1000);
        }
    } else if (!err && response->status < 500 && http->limit < http->most) {
        if (++http->successes >= http->limit) {
            http->successes = 0;
            http->limit++;
        }
    }
    pthread_cond_broadcast(&http->freed);
    pthread_mutex_unlock(&http->lock);
}

static bool success(int status)
{
    return status >= 200 && status <= 299;
}

/* One header line: "Name: value\r\n". Takes the value when it has the name. */
static bool header_value(const char *line, size_t len, const char *name, char *value, size_t size)
{
    size_t name_len = strlen(name);

    if (len <= name_len || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':') {
        return false;
    }
    line += name_len + 1;
    len -= name_len + 1;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len > 0 && isspace((unsigned char)line[len - 1])) {
        len--;
    }
    if (len >= size || memchr(line, '\0', len)) {
        value[0] = '\0'; /* too long to be what we know */
        return true;
    }
    memcpy(value, line, len);
    value[len] = '\0';
    return true;
}

static bool digits(const char **text, uint64_t *out)
{
    const char *at = *text;
    uint64_t value = 0;

    while (*at >= '0' && *at <= '9') {
        if (value > (UINT64_MAX - 9) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(*at++ - '0');
    }
    if (at == *text) {
        return false;
    }
    *text = at;
    *out = value;
    return true;
}

static void take_range(const char *value, struct lethe_http_response *response)
{
    uint64_t first, last;

    if (strncasecmp(value, "bytes ", 6) != 0) {
        return;
    }
    value += 6;
    if (digits(&value, &first) && *value++ == '-' && digits(&value, &last) && *value == '/' &&
        first <= last) {
        response->has_range = true;
        response->first = first;
        response->last = last;
    }
}

static int64_t date_of(const char *value)
{
    time_t date = value[0] ? curl_getdate(value, NULL) : -1;

    return date > 0 ? (int64_t)date : 0;
}

static void take_header(struct transfer *transfer, const char *line, size_t len)
{
    struct lethe_http_response *response = transfer->response;
    char value[256];
    const char *at = value;
    uint64_t number;

    if (header_value(line, len, "ETag", value, sizeof response->etag)) {
        strcpy(response->etag, value);
    } else if (header_value(line, len, "x-amz-bucket-region", value, sizeof response->region)) {
        strcpy(response->region, value);
    } else if (header_value(line, len, "x-amz-request-id", value, sizeof response->request_id)) {
        strcpy(response->request_id, value);
    } else if (header_value(line, len, "Date", value, sizeof value)) {
        response->date = date_of(value);
    } else if (header_value(line, len, "Last-Modified", value, sizeof value)) {
        response->last_modified = date_of(value);
    } else if (header_value(line, len, "Content-Range", value, sizeof value)) {
        take_range(value, response);
    } else if (header_value(line, len, "Content-Length", value, sizeof value)) {
        response->content_length =
            digits(&at, &number) && *at == '\0' && number <= INT64_MAX ? (int64_t)number : -1;
    } else if (header_value(line, len, "Transfer-Encoding", value, sizeof value)) {
        transfer->chunked = strcasecmp(value, "chunked") == 0;
    } else if (header_value(line, len, "Retry-After", value, sizeof value)) {
        if (digits(&at, &number) && *at == '\0') {
            response->retry_after_s = number < RETRY_AFTER_MAX_S ? (unsigned)number : RETRY_AFTER_MAX_S;
        }
    }
}

static void forget(struct transfer *transfer)
{
    unsigned sends = transfer->response->sends;

    memset(transfer->response, 0, sizeof *transfer->response);
    transfer->response->sends = sends;
    transfer->response->content_length = -1;
    transfer->chunked = false;
    transfer->headed = false;
}

static size_t on_header(char *line, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t len = size * count;

    atomic_store(&transfer->http->heard, now_ms());
    if (len >= 5 && strncmp(line, "HTTP/", 5) == 0) {
        const char *space = memchr(line, ' ', len);

        forget(transfer); /* a 100 Continue may have come before */
        if (space && (size_t)(line + len - space) >= 4) {
            transfer->response->status = (space[1] - '0') * 100 + (space[2] - '0') * 10 + (space[3] - '0');
        }
    } else if (len == 2 && line[0] == '\r') {
        transfer->headed = true;
    } else {
        take_header(transfer, line, len);
    }
    return len;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    const struct lethe_http_request *request = transfer->request;
    struct lethe_http_response *response = transfer->response;
    size_t len = size * count, all = len;
    uint64_t have, room;

    atomic_store(&transfer->http->heard, now_ms());
    if (!success(response->status)) {
        size_t left = sizeof response->error - response->error_len;

        memcpy(response->error + response->error_len, bytes, len < left ? len : left);
        response->error_len += len < left ? len : left;
        transfer->seen += len;
        return transfer->seen <= UINT64_C(16) << 20 ? len : 0;
    }
    transfer->seen += len;
    if (!request->out) {
        return transfer->seen <= UINT64_C(16) << 20 ? len : 0;
    }
    if (request->window && response->status == 200) {
        uint64_t before = transfer->seen - len, drop = before < request->skip ? request->skip - before : 0;

        drop = drop < len ? drop : len;
        bytes += drop;
        len -= (size_t)drop;
    }
    have = request->out->len - transfer->out_start;
    room = request->out_max - have;
    if (len > room) {
        if (!(request->window && response->status == 200)) {
            transfer->err = LETHE_ERR_INTEGRITY;
            return 0;
        }
        len = (size_t)room;
    }
    if (!transfer->reserved) {
        uint64_t said = response->content_length > 0 ? (uint64_t)response->content_length : 0;

        said = said < request->out_max ? said : request->out_max;
        transfer->reserved = true;
        if (lethe_buf_reserve(request->out, (size_t)(said < RESERVE_MAX ? said : RESERVE_MAX))) {
            transfer->err = LETHE_ERR_NOMEM;
            return 0;
        }
    }
    lethe_buf_put(request->out, bytes, len);
    if (lethe_buf_status(request->out)) {
        transfer->err = LETHE_ERR_NOMEM;
        return 0;
    }
    return all;
}

static size_t on_read(char *to, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t room = size * count, left = transfer->request->body_len - (size_t)transfer->sent;
    size_t len = left < room ? left : room;

    if (len > 0) {
        atomic_store(&transfer->http->heard, now_ms());
        memcpy(to, transfer->request->body + transfer->sent, len);
        transfer->sent += len;
    }
    return len;
}

static int on_seek(void *context, curl_off_t offset, int origin)
{
    struct transfer *transfer = context;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > transfer->request->body_len) {
        return CURL_SEEKFUNC_FAIL;
    }
    transfer->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* Called each time that the request is about to go out: again when a kept connection turns out to be dead. */
static int on_send(void *context, char *peer, char *local, int peer_port, int local_port)
{
    struct transfer *transfer = context;

    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    transfer->response->sends++;
    return CURL_PREREQFUNC_OK;
}

static int on_progress(void *context, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    const struct transfer *transfer = context;
    uint64_t moved = (uint64_t)(down > 0 ? down : 0) + (uint64_t)(up > 0 ? up : 0);

    (void)down_all;
    (void)up_all;
    return now_ms() - transfer->start > transfer->http->timeout_ms + moved / BYTES_PER_MS;
}

static enum lethe_err set_options(struct transfer *transfer, struct curl_slist **headers)
{
    const struct lethe_http_request *request = transfer->request;
    struct lethe_http *http = transfer->http;
    unsigned connect_ms = http->timeout_ms < CONNECT_MS ? http->timeout_ms : CONNECT_MS;
    unsigned silence = (http->timeout_ms + 999) / 1000;
    CURL *easy = transfer->easy;
    bool failed = false;

    for (size_t i = 0; i < request->header_count; i++) {
        struct curl_slist *grown = curl_slist_append(*headers, request->headers[i]);

        if (!grown) {
            return LETHE_ERR_NOMEM;
        }
        *headers = grown;
    }
    failed |= curl_easy_setopt(easy, CURLOPT_URL, request->url) != CURLE_OK;
    failed |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK;
    failed |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, *headers) != CURLE_OK;
    failed |= curl_easy_setopt(easy, CURLOPT_USERAGENT, "lethefs/" LETHE_VERSION) != CURLE_OK;
    failed |= http->ca_file && curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file) != CURLE_OK;
    if (failed) {
        return LETHE_ERR_NOMEM;
    }
    if (http->nearby && curl_easy_setopt(easy, CURLOPT_PROXY, "") != CURLE_OK) {
        return LETHE_ERR_NOMEM;
    }
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1l);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1l);
    curl_easy_setopt(easy, CURLOPT_SHARE, http->share);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1l);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, IO_BUFFER);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, IO_BUFFER);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1l);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)(silence < SILENCE_S ? silence : SILENCE_S));
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0l);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, transfer);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1l);
    } else if (strcmp(request->method, "PUT") == 0) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1l);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_len);
    } else if (strcmp(request->method, "GET") != 0) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    }
    return LETHE_OK;
}

/*
 * Whether the end of the answer is known to be its end. A body that ends with its connection may be a part; and libcurl
 * takes headers that do.
 */
static bool whole(struct transfer *transfer)
{
    const struct lethe_http_response *response = transfer->response;
    long version = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
    return transfer->headed && (response->content_length >= 0 || transfer->chunked || version >= CURL_HTTP_VERSION_2_0 ||
           response->status == 204 || response->status == 304 ||
           strcmp(transfer->request->method, "HEAD") == 0);
}

static void say_away(struct lethe_http *http, const struct transfer *transfer, const char *cause)
{
    const char *host = strstr(transfer->request->url, "://");
    size_t len = host ? strcspn(host + 3, "/?") : 0;

    if (!http->nearby && !atomic_exchange(&http->away, true)) {
        lethe_log(LETHE_LOG_WARN, "the store %.*s does not answer: %s", (int)len, host ? host + 3 : "",
                  cause);
    }
}

/* What a person can do about it, after the cause. */
static const char *cause_of(CURLcode code, bool tls)
{
    switch ((int)code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return "no host of that name is known: check --endpoint, or the network";
    case CURLE_COULDNT_RESOLVE_PROXY:
        return "the proxy's name is not known: check HTTPS_PROXY or http_proxy";
    case CURLE_COULDNT_CONNECT:
        return "nobody listens there: check --endpoint, or whether the service runs";
    case CURLE_OPERATION_TIMEDOUT:
        return "no answer in time: check --endpoint, or the network";
    case CURLE_SSL_CONNECT_ERROR:
        return "no TLS can be agreed on: write http:// in --endpoint if the service has none";
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return tls ? "it closed the connection" : "it closed the connection (https:// in --endpoint where it wants TLS)";
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return tls ? "what answers does not speak HTTP: check --endpoint"
                   : "what answers does not speak plain HTTP: write https:// in --endpoint, or check the port";
    default:
        return curl_easy_strerror(code);
    }
}

static enum lethe_err judge(struct transfer *transfer, CURLcode code)
{
    struct lethe_http *http = transfer->http;

    if (transfer->err) {
        return transfer->err;
    }
    switch ((int)code) {
    case CURLE_OK:
        if (transfer->response->status < 200 || !whole(transfer)) {
            say_away(http, transfer, "its answer makes no sense");
            return LETHE_ERR_UNREACHABLE;
        }
        if (atomic_exchange(&http->away, false)) {
            lethe_log(LETHE_LOG_INFO, "the store answers again");
        }
        return LETHE_OK;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CERTPROBLEM:
        if (!atomic_exchange(&http->away, true)) {
            lethe_log(
                LETHE_LOG_ERROR,
                "the store's certificate is not trusted: give --cacert (or AWS_CA_BUNDLE) a file with its "
                "authority, or check --endpoint (%s)",
                curl_easy_strerror(code));
        }
        return LETHE_ERR_DENIED;
    case CURLE_OUT_OF_MEMORY:
        return LETHE_ERR_NOMEM;
    case CURLE_URL_MALFORMAT:
        return LETHE_ERR_ARG;
    case CURLE_ABORTED_BY_CALLBACK:
        say_away(http, transfer, "it took too long");
        return LETHE_ERR_UNREACHABLE;
    default:
        say_away(http, transfer, cause_of(code, strncmp(transfer->request->url, "https", 5) == 0));
        return LETHE_ERR_UNREACHABLE;
    }
}

enum lethe_err lethe_http_send(struct lethe_http *http, const struct lethe_http_request *request,
                               struct lethe_http_response *response)
{
    struct transfer transfer = {.http = http, .request = request, .response = response};
    struct curl_slist *headers = NULL;
    struct slot *slot = NULL;
    enum lethe_err err;

    response->sends = 0;
    forget(&transfer);
    err = borrow(http, &slot);
    if (err) {
        return err;
    }
    transfer.easy = slot->easy;
    transfer.start = now_ms();
    transfer.out_start = request->out ? request->out->len : 0;
    err = set_options(&transfer, &headers);
    if (!err) {
        err = judge(&transfer, curl_easy_perform(slot->easy));
    }
    if (err && request->out) {
        request->out->len = transfer.out_start;
    }
    give_back(http, slot, err, response);
    curl_slist_free_all(headers);
    return err;
}
