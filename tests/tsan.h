/* SPDX-License-Identifier: MIT */
/* ThreadSanitizer looks at threads that meet. What runs in one thread takes fifteen times as long there, for nothing. */
#ifndef LETHE_TESTS_TSAN_H
#define LETHE_TESTS_TSAN_H

#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#define TEST_TSAN __has_feature(thread_sanitizer)
#else
#define TEST_TSAN 0
#endif

/* The first line of a cmocka test in which no threads meet: skipped under ThreadSanitizer. */
#define TEST_IN_ONE_THREAD()                                                                                 \
    do {                                                                                                     \
        if (TEST_TSAN) {                                                                                     \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

#endif
