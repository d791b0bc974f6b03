//! The binary `openconnect-http-source`.

openconnect_core::source_main!(openconnect_http_source::HttpSource);
