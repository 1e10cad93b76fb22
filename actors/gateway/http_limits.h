/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_limits: every bound of the HTTP side, each with its reason.
 */
#ifndef TROUPE_ACTORS_GATEWAY_HTTP_LIMITS_H
#define TROUPE_ACTORS_GATEWAY_HTTP_LIMITS_H

/* Longest request line: a model id and a query fit many times over. */
#define HTTP_REQUEST_LINE_SIZE_MAX (8u * 1024u)
/* All header lines with their line ends. */
#define HTTP_HEADERS_SIZE_MAX (32u * 1024u)
#define HTTP_HEADER_COUNT_MAX 100u
/* A whole head: what a connection may make us keep before it is judged. */
#define HTTP_HEAD_SIZE_MAX (HTTP_REQUEST_LINE_SIZE_MAX + HTTP_HEADERS_SIZE_MAX + 4u)
/* A conversation of a million tokens as JSON fits. */
#define HTTP_BODY_SIZE_MAX (32u * 1024u * 1024u)
/* All bodies being received at one time: what unfinished requests may cost in memory. */
#define HTTP_BODIES_SIZE_MAX (128u * 1024u * 1024u)

#define HTTP_CONNECTION_COUNT_MAX 256u
/* One program may ask for a whole batch at once, and a proxy for all its clients; what is left is
 * for others.  Kept connections that wait for a next request give way before any is refused. */
#define HTTP_CONNECTION_PER_ADDRESS_MAX 192u
/* Slots beyond the limit, only to say 429 politely. */
#define HTTP_REFUSAL_COUNT_MAX 32u

/* Absolute: a head must be whole this long after its first byte (or after the connect). */
#define HTTP_HEAD_DEADLINE_MS 10000u
/* A body must have come by this time plus one second per HTTP_BODY_FLOOR bytes received. */
#define HTTP_BODY_GRACE_MS 10000u
#define HTTP_BODY_FLOOR 1024u
/* A client that takes no byte for this long while there is something to take is gone. */
#define HTTP_WRITE_STALL_MS 30000u
/* Between two requests of a kept connection. */
#define HTTP_IDLE_MS 60000u
/* After a refusal: how long unread input is drained, so that the refusal is not lost to a reset. */
#define HTTP_LINGER_MS 1000u

/* Bytes of answer a connection may have waiting in the guard; beyond it libmicrohttpd waits. */
#define HTTP_OUT_SIZE_MAX (64u * 1024u)
/* Bytes of a stream waiting behind libmicrohttpd; a client that far behind is cut. */
#define HTTP_STREAM_PENDING_SIZE_MAX (8u * 1024u * 1024u)
/* Where a paused producer is told to go on. */
#define HTTP_STREAM_DRAINED_SIZE (256u * 1024u)

_Static_assert(HTTP_BODY_SIZE_MAX <= HTTP_BODIES_SIZE_MAX, "one body fits");
_Static_assert(HTTP_STREAM_DRAINED_SIZE < HTTP_STREAM_PENDING_SIZE_MAX, "a drain is below a cut");
_Static_assert(HTTP_CONNECTION_PER_ADDRESS_MAX <= HTTP_CONNECTION_COUNT_MAX, "a share of all");

#endif
