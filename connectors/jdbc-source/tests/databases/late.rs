//! Transactions that commit out of order: no row is lost, where the plain method loses some.

use std::time::Duration;

use openconnect_sql::Dialect;
use serde_json::json;

use crate::support::{Fixture, Offsets, all, drain, numbers};

const TABLE: &str = "create table orders (id bigint primary key, note varchar(40))";

/// Servers only: SQLite's transactions come one after the other.
async fn servers() -> Vec<Fixture> {
    all()
        .await
        .into_iter()
        .filter(|fixture| fixture.dialect() != Dialect::Sqlite)
        .collect()
}

#[tokio::test]
async fn rows_that_commit_late_are_found() {
    for fixture in servers().await {
        fixture.run(TABLE).await;
        let settings = |lag: &str| json!({ "tables": ["orders"], "mode": "incrementing", "incrementing": "id", "lag": lag });
        let (mut offsets, mut plain_offsets) = (Offsets::new(), Offsets::new());
        let mut source = fixture.source(settings("2s"), &offsets).await;
        let mut plain = fixture.source(settings("0s"), &plain_offsets).await;
        let mut slow = fixture.pool.begin().await.unwrap();
        slow.connection()
            .run("insert into orders values (1, 'slow'), (3, 'slow')")
            .await
            .unwrap();
        fixture.run("insert into orders values (2, 'fast'), (4, 'fast')").await;
        assert_eq!(numbers(&drain(&mut source, &mut offsets, 2).await), [2, 4], "{}", fixture.name);
        assert_eq!(numbers(&drain(&mut plain, &mut plain_offsets, 2).await), [2, 4], "{}", fixture.name);
        slow.commit().await.unwrap();
        let mut late = Vec::new();
        while late.len() < 2 {
            let polled = tokio::time::timeout(Duration::from_secs(5), source.next()).await.unwrap().unwrap();
            late.extend(polled.into_iter().map(|record| crate::support::keep(record, &mut offsets)));
        }
        assert_eq!(numbers(&late), [1, 3], "{}", fixture.name);
        assert!(drain(&mut source, &mut offsets, 0).await.is_empty(), "{}: each once", fixture.name);
        // What this is about.
        fixture.run("insert into orders values (5, 'last')").await;
        assert_eq!(numbers(&drain(&mut plain, &mut plain_offsets, 1).await), [5], "{}", fixture.name);
    }
}

#[tokio::test]
async fn rows_that_commit_while_the_source_is_down_are_found() {
    for fixture in servers().await {
        fixture.run(TABLE).await;
        let settings = json!({ "tables": ["orders"], "mode": "incrementing", "incrementing": "id", "lag": "30s" });
        let mut offsets = Offsets::new();
        let mut source = fixture.source(settings.clone(), &offsets).await;
        fixture.run("insert into orders values (1, 'x')").await;
        assert_eq!(numbers(&drain(&mut source, &mut offsets, 1).await), [1], "{}", fixture.name);
        let mut slow = fixture.pool.begin().await.unwrap();
        slow.connection().run("insert into orders values (2, 'slow')").await.unwrap();
        fixture.run("insert into orders values (3, 'fast')").await;
        assert_eq!(numbers(&drain(&mut source, &mut offsets, 1).await), [3], "{}", fixture.name);
        source.close().await.unwrap();
        slow.commit().await.unwrap();
        let mut again = fixture.source(settings, &offsets).await;
        let found = numbers(&drain(&mut again, &mut offsets, 1).await);
        assert!(found.contains(&2), "{}: {found:?}", fixture.name);
        assert!(
            !found.contains(&1),
            "{}: what is stored as read is not read again: {found:?}",
            fixture.name
        );
    }
}
