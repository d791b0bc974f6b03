//! The binary `openconnect-http-sink`.

openconnect_core::sink_main!(openconnect_http_sink::HttpSink);
