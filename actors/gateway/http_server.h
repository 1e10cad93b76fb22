/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server: HTTP requests as inputs of a single-threaded actor, and its answers as HTTP.
 *
 * libmicrohttpd speaks the protocol behind our guard; this file is the only one that includes it.
 * A request arrives whole.  The actor answers it at any later time, in one piece or as a stream of
 * pieces; a client that leaves is an input too, at once, also while a stream is silent.
 *
 * Owner    the gateway's shell.
 * Memory   an exchange per request in flight; a stream keeps at most HTTP_STREAM_PENDING_SIZE_MAX
 *          bytes its client has not taken yet.
 * Threads  two of its own (the guard's and libmicrohttpd's).  All functions here are called by the
 *          actor's thread.
 * Fails    the statuses of http_guard_open; STATUS_NOT_FOUND for a request that is gone already,
 *          STATUS_TOO_LARGE for a stream whose client stopped taking bytes (it is cut then).
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_SERVER_H
#define TROUPE_ACTORS_GATEWAY_HTTP_SERVER_H

#include "actors/gateway/http_file.h"
#include "actors/gateway/http_guard.h"
#include "actors/gateway/http_pipe.h"

enum http_input_kind {
    HTTP_INPUT_REQUEST, /* answer it, sooner or later */
    HTTP_INPUT_GONE,    /* the client left before the end; nothing may be sent any more */
    HTTP_INPUT_DRAINED, /* a stream that had filled up takes bytes again; or a piece was taken */
};

struct http_input {
    enum http_input_kind kind;
    uint64_t exchange; /* names the request in all calls below; never reused */
    /* Of HTTP_INPUT_REQUEST only: */
    enum http_method method;
    char *path;  /* decoded */
    char *query; /* as sent, without '?' */
    char *host;  /* header Host, with its port */
    char *range;    /* header Range, or empty */
    char *if_range; /* header If-Range, or empty */
    char *if_none_match; /* header If-None-Match, or empty */
    char *body;  /* NUL after it */
    size_t body_size;
};

void http_input_fini(struct http_input *input);

struct http_server;

MUST_CHECK enum status http_server_open(const char *address, unsigned port,
                                        const struct http_guard_limits *limits,
                                        const struct http_policy *policy,
                                        struct http_server **server_out, struct reason *reason);
unsigned http_server_port(const struct http_server *server);
/* Readable while http_server_next has something. */
int http_server_wait_fd(const struct http_server *server);
/* Moves the oldest input out; false when there is none.  The caller finishes it. */
MUST_CHECK bool http_server_next(struct http_server *server, struct http_input *input_out);

/* A whole answer.  `extra` is NULL or more header lines, "\n" between them ("Retry-After: 1"). */
enum status http_server_answer(struct http_server *server, uint64_t exchange, int http_status,
                               const char *content_type, const char *extra, const void *body,
                               size_t size);
/* The head of a whole answer whose body of `size` bytes follows from a file, or does not follow:
 * then `file` is NULL, and the request's method was HEAD.  `file` is the server's from here on. */
enum status http_server_answer_file(struct http_server *server, uint64_t exchange, int http_status,
                                    const char *content_type, const char *extra,
                                    struct http_file *file, uint64_t size);
/* The head of an answer whose body of `size` bytes, at least 1, comes in pieces. */
enum status http_server_pipe_begin(struct http_server *server, uint64_t exchange, int http_status,
                                   const char *content_type, const char *extra, uint64_t size);
/* Takes the next bytes.  HTTP_INPUT_DRAINED comes for each piece that the client took to its end;
 * one after another, so that no more lie here than whoever writes wants.  The answer is over with
 * the last byte; http_server_stream_end before it cuts the connection, so that a client sees that
 * bytes are missing. */
enum status http_server_pipe_write(struct http_server *server, uint64_t exchange,
                                   struct buffer *bytes);
/* The JSON of a fault, with its Retry-After. */
enum status http_server_answer_fault(struct http_server *server, uint64_t exchange,
                                     const struct http_fault *fault);
/* Begins a stream of server-sent events; the head goes out at once. */
enum status http_server_stream_begin(struct http_server *server, uint64_t exchange);
enum status http_server_stream_write(struct http_server *server, uint64_t exchange,
                                     const void *bytes, size_t size);
enum status http_server_stream_end(struct http_server *server, uint64_t exchange);
/* Bytes a stream's client has not taken yet; 0 when it is gone. */
size_t http_server_stream_pending(struct http_server *server, uint64_t exchange);

struct http_guard_counts http_server_counts(struct http_server *server);
/* Cuts every connection.  Accepts NULL. */
void http_server_close(struct http_server *server);

#endif
