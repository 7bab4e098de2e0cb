/* SPDX-License-Identifier: MIT */
/*
 * Just enough XML to read an object store's answers, from bytes that may be hostile: elements, text, the five
 * named and the numeric character references. Attributes are skipped; name space prefixes, comments, CDATA
 * and document types are LETHE_ERR_FORMAT (Extensible Markup Language 1.0, chapters 2 and 4). No recursion,
 * no allocation but of fixed size.
 */
#ifndef LETHE_BACKENDS_S3_XML_H
#define LETHE_BACKENDS_S3_XML_H

#include <stddef.h>

#include "lethe/err.h"

#define LETHE_XML_PATH_MAX 256
#define LETHE_XML_TEXT_MAX 4096

/*
 * Calls each at the end of every element with its path from the root ("ListBucketResult/Contents/Key") and
 * its text, of which what stands before the last element inside it is left out. text is ended by a zero and
 * holds no other. A non-zero result stops and is returned. LETHE_ERR_FORMAT: the bytes are not of this form,
 * or deeper or longer than the limits above.
 */
enum lethe_err lethe_xml_walk(const void *bytes, size_t len,
                              enum lethe_err (*each)(void *context, const char *path, const char *text),
                              void *context) LETHE_MUST_CHECK;

#endif
