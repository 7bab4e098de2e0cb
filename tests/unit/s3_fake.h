/* SPDX-License-Identifier: MIT */
/*
 * An object store in a thread, on a port of loopback, that does what a test tells it: an honest one in the
 * dialects that real stores speak, until a fault is due.
 */
#ifndef LETHE_TESTS_S3_FAKE_H
#define LETHE_TESTS_S3_FAKE_H

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAKE_OBJECTS 64
#define FAKE_BYTES (1u << 20)
#define FAKE_PAGE 3

enum fake_dialect {
    FAKE_QUOTED,
    FAKE_UNQUOTED,
    FAKE_WITHOUT_CONDITIONS, /* answers 501 */
    FAKE_IGNORES_CONDITIONS,
    FAKE_IGNORES_RANGES,
};

enum fake_fault {
    FAKE_NONE,
    FAKE_RESET,       /* the connection, before anything is done */
    FAKE_LOST_ANSWER, /* done, then the connection is closed */
    FAKE_REPEATED,    /* a PUT arrives twice, and the answer is the second's */
    FAKE_HALF_BODY,   /* the length is right, the body stops half way */
    FAKE_NO_LENGTH,   /* the end of the connection ends the body */
    FAKE_SHORT_RANGE, /* Content-Range says more than comes */
    FAKE_OTHER_RANGE,
    FAKE_LONG_BODY, /* more than was asked for */
    FAKE_SILENCE,   /* no answer until the client has gone */
    FAKE_GARBAGE,
    FAKE_ANSWER, /* what answer says, as it stands */
    FAKE_CUT_ANSWER, /* the same, then the connection is closed */
};

struct fake_object {
    char key[512]; /* "" is free */
    uint8_t *bytes;
    size_t len;
    unsigned version;
};

struct fake {
    int listener;
    unsigned port;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t idle;
    enum fake_dialect dialect;
    enum fake_fault fault;
    unsigned after, times; /* the fault is due after that many requests, for that many */
    unsigned permille;     /* of all requests that meet a fault at random */
    uint64_t random;
    char answer[1024];
    struct fake_object objects[FAKE_OBJECTS];
    unsigned versions, requests, connections, open;
    bool stopping;
    char last[16384]; /* the last request's lines */
};

struct fake_connection {
    struct fake *fake;
    int fd;
};

struct fake_request {
    char method[8], target[2048], head[16384];
    uint8_t *body;
    size_t len;
};

/* What the fake itself relies on, in every kind of build. */
static inline void fake_check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* The value of a header, or NULL. */
static inline const char *fake_header(const char *head, const char *name, char value[2048])
{
    size_t len = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            size_t n;

            line += len + 1;
            line += strspn(line, " ");
            n = strcspn(line, "\r");
            fake_check(n < 2048);
            memcpy(value, line, n);
            value[n] = '\0';
            return value;
        }
    }
    return NULL;
}

static inline bool fake_send(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

        if (sent <= 0) {
            return false;
        }
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

static inline bool fake_receive(int fd, struct fake_request *request)
{
    size_t have = 0, head, length = 0;
    char value[2048], *end = NULL;

    request->body = NULL;
    request->len = 0;
    while (!end) {
        ssize_t got;

        if (have == sizeof request->head - 1) {
            return false;
        }
        got = recv(fd, request->head + have, sizeof request->head - 1 - have, 0);
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
        request->head[have] = '\0';
        end = strstr(request->head, "\r\n\r\n");
    }
    head = (size_t)(end - request->head) + 4;
    if (fake_header(request->head, "Content-Length", value)) {
        length = strtoul(value, NULL, 10);
    }
    fake_check(length <= FAKE_BYTES);
    request->body = malloc(length + 1);
    fake_check(request->body);
    memcpy(request->body, request->head + head, have - head);
    request->len = have - head;
    request->head[head - 2] = '\0';
    while (request->len < length) {
        ssize_t got = recv(fd, request->body + request->len, length - request->len, 0);

        if (got <= 0) {
            return false;
        }
        request->len += (size_t)got;
    }
    return sscanf(request->head, "%7s %2047s", request->method, request->target) == 2;
}

static inline struct fake_object *fake_find(struct fake *fake, const char *key)
{
    for (size_t i = 0; i < FAKE_OBJECTS; i++) {
        if (strcmp(fake->objects[i].key, key) == 0) {
            return &fake->objects[i];
        }
    }
    return NULL;
}

static inline void fake_decode(const char *from, size_t len, char *to)
{
    for (size_t i = 0; i < len; i++) {
        unsigned code;

        if (from[i] == '%' && i + 2 < len && sscanf(from + i + 1, "%2x", &code) == 1) {
            *to++ = (char)code;
            i += 2;
        } else {
            *to++ = from[i];
        }
    }
    *to = '\0';
}

/* A parameter of the query, decoded; "" when it is not there. */
static inline void fake_parameter(const char *target, const char *name, char out[2048])
{
    size_t len = strlen(name);
    const char *at = strchr(target, '?');

    out[0] = '\0';
    while (at) {
        at++;
        if (strncmp(at, name, len) == 0 && at[len] == '=') {
            fake_decode(at + len + 1, strcspn(at + len + 1, "&"), out);
            return;
        }
        at = strchr(at, '&');
    }
}

static inline int fake_by_key(const void *a, const void *b)
{
    return strcmp((*(struct fake_object *const *)a)->key, (*(struct fake_object *const *)b)->key);
}

/* ListObjectsV2, FAKE_PAGE keys at a time. */
static inline void fake_list(struct fake *fake, int fd, const struct fake_request *request)
{
    static char body[FAKE_OBJECTS * 1024]; /* under the lock */
    struct fake_object *sorted[FAKE_OBJECTS];
    char prefix[2048], token[2048], head[256];
    size_t count = 0, from, len = 0;

    fake_parameter(request->target, "prefix", prefix);
    fake_parameter(request->target, "continuation-token", token);
    for (size_t i = 0; i < FAKE_OBJECTS; i++) {
        if (fake->objects[i].key[0] && strncmp(fake->objects[i].key, prefix, strlen(prefix)) == 0) {
            sorted[count++] = &fake->objects[i];
        }
    }
    qsort(sorted, count, sizeof sorted[0], fake_by_key);
    from = token[0] ? strtoul(token + 2, NULL, 10) : 0;
    len += (size_t)sprintf(body + len, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
                                       "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>x</Name>");
    for (size_t i = from; i < count && i < from + FAKE_PAGE; i++) {
        len += (size_t)sprintf(
            body + len,
            "<Contents><Key>%s</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>"
            "<ETag>&quot;%032x&quot;</ETag><Size>%zu</Size><Owner><ID>i</ID></Owner></Contents>",
            sorted[i]->key, sorted[i]->version, sorted[i]->len);
    }
    if (from + FAKE_PAGE < count) {
        len += (size_t)sprintf(body + len,
                               "<IsTruncated>true</IsTruncated><NextContinuationToken>+ %zu"
                               "</NextContinuationToken></ListBucketResult>",
                               from + FAKE_PAGE);
    } else {
        len += (size_t)sprintf(body + len, "<IsTruncated>false</IsTruncated></ListBucketResult>");
    }
    fake_send(fd, head, (size_t)sprintf(head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len));
    fake_send(fd, body, len);
}

static inline void fake_status(int fd, const char *status, const char *code)
{
    char text[1024], body[512];
    int len = code ? sprintf(body, "<?xml version=\"1.0\"?><Error><Code>%s</Code></Error>", code) : 0;

    fake_send(
        fd, text,
        (size_t)sprintf(text, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len, code ? body : ""));
}

static inline void fake_put(struct fake *fake, int fd, struct fake_request *request, const char *key,
                            bool answer)
{
    struct fake_object *object = fake_find(fake, key);
    char match[2048], none[2048], etag[64], text[256];
    bool has_match = fake_header(request->head, "If-Match", match) != NULL;
    bool has_none = fake_header(request->head, "If-None-Match", none) != NULL;

    if (fake->dialect == FAKE_WITHOUT_CONDITIONS && (has_match || has_none)) {
        fake_status(fd, "501 Not Implemented", "NotImplemented");
        return;
    }
    if (fake->dialect != FAKE_IGNORES_CONDITIONS) {
        sprintf(etag, fake->dialect == FAKE_UNQUOTED ? "%032x" : "\"%032x\"", object ? object->version : 0);
        if (has_match && !object) {
            fake_status(fd, "404 Not Found", "NoSuchKey");
            return;
        }
        if ((has_none && object) || (has_match && strcmp(match, etag) != 0)) {
            fake_status(fd, "412 Precondition Failed", "PreconditionFailed");
            return;
        }
    }
    if (!object) {
        object = fake_find(fake, "");
        fake_check(object && strlen(key) < sizeof object->key);
        strcpy(object->key, key);
    }
    free(object->bytes);
    object->bytes = request->body;
    object->len = request->len;
    object->version = ++fake->versions;
    request->body = NULL;
    if (answer) {
        fake_send(fd, text,
                  (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nETag: \"%032x\"\r\nContent-Length: 0\r\n\r\n",
                                  object->version));
    }
}

static inline void fake_get(struct fake *fake, int fd, const struct fake_request *request, const char *key,
                            enum fake_fault fault)
{
    struct fake_object *object = fake_find(fake, key);
    char range[2048], head[512], lines[256] = "";
    unsigned long first = 0, last;
    bool ranged = fake->dialect != FAKE_IGNORES_RANGES && fake_header(request->head, "Range", range) != NULL;
    bool body = strcmp(request->method, "GET") == 0;
    size_t len, sent;

    if (!object) {
        fake_status(fd, "404 Not Found", body ? "NoSuchKey" : NULL);
        return;
    }
    last = object->len - 1;
    if (ranged) {
        int fields = sscanf(range, "bytes=%lu-%lu", &first, &last);

        fake_check(fields >= 1);
        if (first >= object->len) {
            fake_status(fd, "416 Requested Range Not Satisfiable", "InvalidRange");
            return;
        }
        last = last < object->len - 1 ? last : object->len - 1;
        sprintf(lines, "Content-Range: bytes %lu-%lu/%zu\r\n", first + (fault == FAKE_OTHER_RANGE),
                last + (fault == FAKE_OTHER_RANGE), object->len);
    }
    len = object->len == 0 ? 0 : last - first + 1;
    sent = fault == FAKE_HALF_BODY ? len / 2 : len;
    if (fault == FAKE_SHORT_RANGE && ranged) { /* of a whole object only its seal would tell */
        sent = len /= 2;
    }
    if (fault == FAKE_LONG_BODY) {
        fake_check(first + len < object->len);
        sent = ++len;
    }
    if (fault != FAKE_NO_LENGTH) {
        sprintf(lines + strlen(lines), "Content-Length: %zu\r\n", len);
    }
    fake_send(fd, head,
              (size_t)sprintf(
                  head,
                  "HTTP/1.1 %s\r\nETag: \"%032x\"\r\nLast-Modified: Mon, 12 Oct 2009 17:50:30 GMT\r\n%s\r\n",
                  ranged ? "206 Partial Content" : "200 OK", object->version, lines));
    if (body) {
        fake_send(fd, object->bytes + first, sent);
    }
}

/* A fault that a network or a server may have, by xorshift64. Under the lock. */
static inline enum fake_fault fake_chance(struct fake *fake)
{
    static const enum fake_fault faults[] = {FAKE_RESET,       FAKE_LOST_ANSWER, FAKE_HALF_BODY,
                                             FAKE_SHORT_RANGE, FAKE_GARBAGE,     FAKE_ANSWER};

    fake->random ^= fake->random << 13;
    fake->random ^= fake->random >> 7;
    fake->random ^= fake->random << 17;
    return fake->random % 1000 < fake->permille
               ? faults[fake->random / 1000 % (sizeof faults / sizeof faults[0])]
               : FAKE_NONE;
}

/* Answers one request. Whether the connection stays. */
static inline bool fake_answer(struct fake *fake, int fd, struct fake_request *request)
{
    enum fake_fault fault = FAKE_NONE;
    char answer[sizeof fake->answer], key[2048], byte;
    bool keep;

    pthread_mutex_lock(&fake->lock);
    strcpy(fake->last, request->head);
    fake->requests++;
    if (fake->fault != FAKE_NONE && fake->after > 0) {
        fake->after--;
    } else if (fake->fault != FAKE_NONE && fake->times > 0) {
        fault = fake->fault;
        fake->times--;
    } else if (fake->permille > 0) {
        fault = fake_chance(fake);
    }
    strcpy(answer, fake->answer);
    if (fault == FAKE_RESET || fault == FAKE_SILENCE || fault == FAKE_GARBAGE || fault == FAKE_ANSWER ||
        fault == FAKE_CUT_ANSWER) {
        pthread_mutex_unlock(&fake->lock);
        if (fault == FAKE_SILENCE) {
            while (recv(fd, &byte, 1, 0) > 0) {
            }
        } else if (fault == FAKE_GARBAGE) {
            fake_send(fd, "\x01\x02 what?\r\n\r\n", 12);
        } else if (fault == FAKE_ANSWER || fault == FAKE_CUT_ANSWER) {
            return fake_send(fd, answer, strlen(answer)) && fault == FAKE_ANSWER;
        } else {
            const struct linger now = {1, 0};

            setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        return false;
    }
    fake_decode(request->target, strcspn(request->target, "?"), key);
    if (strcmp(key, "/bucket") == 0) {
        fake_list(fake, fd, request);
    } else if (strcmp(request->method, "PUT") == 0) {
        if (fault == FAKE_REPEATED) {
            fake_put(fake, fd, request, key + 8, false);
        }
        fake_put(fake, fd, request, key + 8, fault != FAKE_LOST_ANSWER);
    } else if (strcmp(request->method, "DELETE") == 0) {
        struct fake_object *object = fake_find(fake, key + 8);

        if (object) {
            free(object->bytes);
            memset(object, 0, sizeof *object);
        }
        fake_status(fd, "204 No Content", NULL);
    } else {
        fake_get(fake, fd, request, key + 8, fault);
    }
    keep = fault == FAKE_NONE;
    pthread_mutex_unlock(&fake->lock);
    return keep;
}

static inline void *fake_serve(void *argument)
{
    struct fake_connection connection = *(struct fake_connection *)argument;
    struct fake_request *request = malloc(sizeof *request);
    bool keep = true;

    free(argument);
    fake_check(request);
    while (keep) {
        keep = fake_receive(connection.fd, request) && fake_answer(connection.fake, connection.fd, request);
        free(request->body);
    }
    free(request);
    close(connection.fd);
    pthread_mutex_lock(&connection.fake->lock);
    connection.fake->open--;
    pthread_cond_signal(&connection.fake->idle);
    pthread_mutex_unlock(&connection.fake->lock);
    return NULL;
}

static inline void *fake_accept(void *argument)
{
    struct fake *fake = argument;
    const int yes = 1;

    for (;;) {
        struct fake_connection *connection = malloc(sizeof *connection);
        pthread_t thread;
        int fd = accept(fake->listener, NULL, NULL);

        fake_check(connection);
        if (fd < 0) { /* fake_stop shut it down */
            free(connection);
            return NULL;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* head and body are sent apart */
        *connection = (struct fake_connection){fake, fd};
        pthread_mutex_lock(&fake->lock);
        fake->connections++;
        fake->open++;
        pthread_mutex_unlock(&fake->lock);
        if (pthread_create(&thread, NULL, fake_serve, connection) != 0) {
            abort();
        }
        pthread_detach(thread);
    }
}

static inline void fake_start(struct fake *fake)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int failed;

    memset(fake, 0, sizeof *fake);
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->idle, NULL);
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    failed = fake->listener < 0 || bind(fake->listener, (struct sockaddr *)&address, sizeof address) ||
             listen(fake->listener, 64) || getsockname(fake->listener, (struct sockaddr *)&address, &size) ||
             pthread_create(&fake->thread, NULL, fake_accept, fake);
    if (failed) {
        abort();
    }
    fake->port = ntohs(address.sin_port);
}

/* After the clients have closed their connections. */
static inline void fake_stop(struct fake *fake)
{
    shutdown(fake->listener, SHUT_RDWR);
    pthread_join(fake->thread, NULL);
    close(fake->listener);
    pthread_mutex_lock(&fake->lock);
    while (fake->open > 0) {
        pthread_cond_wait(&fake->idle, &fake->lock);
    }
    pthread_mutex_unlock(&fake->lock);
    for (size_t i = 0; i < FAKE_OBJECTS; i++) {
        free(fake->objects[i].bytes);
    }
    pthread_cond_destroy(&fake->idle);
    pthread_mutex_destroy(&fake->lock);
}

/* What a FAKE_ANSWER is, with its status line and headers. */
static inline void fake_say(struct fake *fake, const char *answer)
{
    pthread_mutex_lock(&fake->lock);
    fake_check(strlen(answer) < sizeof fake->answer);
    strcpy(fake->answer, answer);
    pthread_mutex_unlock(&fake->lock);
}

/* The next times requests after "after" of them meet this. */
static inline void fake_plan(struct fake *fake, enum fake_fault fault, unsigned after, unsigned times)
{
    pthread_mutex_lock(&fake->lock);
    fake->fault = fault;
    fake->after = after;
    fake->times = times;
    pthread_mutex_unlock(&fake->lock);
}

#endif
