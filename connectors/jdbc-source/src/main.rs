//! The binary `openconnect-jdbc-source`.

openconnect_core::source_main!(openconnect_jdbc_source::JdbcSource);
