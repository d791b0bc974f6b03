//! The binary `openconnect-jdbc-sink`.

openconnect_core::sink_main!(openconnect_jdbc_sink::JdbcSink);
