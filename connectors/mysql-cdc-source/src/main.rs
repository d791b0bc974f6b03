//! The binary `openconnect-mysql-cdc-source`.

openconnect_core::source_main!(
    openconnect_mysql_cdc_source::MySqlCdcSource,
    offsets = openconnect_offsets_sql::SqlOffsets
);
