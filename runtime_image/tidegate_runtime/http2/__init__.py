"""HTTP/2 (RFC 9113) on an asyncio transport, the server's side, for calls whose answers are short or stream.

It knows nothing of gRPC.  `Connection` reads frames and keeps the peer within its bounds, `Outgoing` writes within the
peer's, `HeadReader` turns blocks of headers into `Head`s, and whoever makes `Stream`s says what a request means.
Header blocks are unpacked by the `hpack` library.  h2spec asks it everything in tests/runtime/test_h2spec.py.
"""
