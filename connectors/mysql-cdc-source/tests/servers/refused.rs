//! Tables that the log can't be followed with are refused by name, at the start and later.

use openconnect_sql_fixtures::{System, database};
use serde_json::json;

use crate::support::{Offsets, begin, data, failure, source, take};

#[tokio::test]
async fn a_system_versioned_table_is_refused_by_name() {
    let Some(database) = database(System::MariaDb).await.unwrap() else {
        return;
    };
    database.execute("create table plain (id int primary key)").await.unwrap();
    database
        .execute("create table history (id int primary key) with system versioning")
        .await
        .unwrap();
    let mut reads = source(&database, json!({}), &Offsets::new()).await;
    let refused = failure(&mut reads).await;
    assert!(
        refused.code == "CDC_TABLE" && refused.reason().contains("`history` is system-versioned"),
        "{refused}"
    );
    let mut offsets = Offsets::new();
    let mut reads = source(&database, json!({ "exclude": ["history"], "snapshot": "no_data" }), &offsets).await;
    begin(&mut reads).await;
    database
        .execute("insert into history values (1); insert into plain values (2)")
        .await
        .unwrap();
    assert_eq!(data(&take(&mut reads, &mut offsets, 1).await[0])["after"]["id"], 2);
    // One that becomes so while it is read.
    database.execute("alter table plain add system versioning").await.unwrap();
    let refused = failure(&mut reads).await;
    assert!(refused.code == "CDC_TABLE" && refused.reason().contains("`plain`"), "{refused}");
}

#[tokio::test]
async fn a_sequence_is_no_table() {
    let Some(database) = database(System::MariaDb).await.unwrap() else {
        return;
    };
    database.execute("create table t (id int primary key)").await.unwrap();
    database.execute("create sequence s").await.unwrap();
    let mut offsets = Offsets::new();
    let mut reads = source(&database, json!({}), &offsets).await;
    begin(&mut reads).await;
    database.execute("do nextval(s); insert into t values (nextval(s))").await.unwrap();
    database
        .execute("create sequence later; insert into t values (100 + nextval(later))")
        .await
        .unwrap();
    let told = take(&mut reads, &mut offsets, 2).await;
    assert!(told.iter().all(|event| data(event)["source"]["table"] == "t"), "{told:?}");
}
