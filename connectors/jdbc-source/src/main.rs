//! The binary `openconnect-jdbc-source`.

openconnect_core::source_main!(openconnect_jdbc_source::JdbcSource, offsets = openconnect_offsets_sql::SqlOffsets);
