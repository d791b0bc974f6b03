//! The databases that other tests stand on: fresh, apart from each other, and with a server that survives a kill.
#![allow(clippy::unwrap_used, missing_docs)]

use openconnect_sql_fixtures::{Server, System, database};

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    for system in System::ALL {
        let Some(one) = database(system).await.unwrap() else { continue };
        let other = database(system).await.unwrap().unwrap();
        for (database, word) in [(&one, "one"), (&other, "other")] {
            database.execute("CREATE TABLE words (word varchar(10))").await.unwrap();
            database.execute(&format!("INSERT INTO words VALUES ('{word}')")).await.unwrap();
        }
        assert_eq!(one.query("SELECT word FROM words").await.unwrap(), [["one"]], "{system:?}");
        assert_eq!(other.query("SELECT word FROM words").await.unwrap(), [["other"]], "{system:?}");
    }
}

#[tokio::test]
async fn what_was_committed_survives_a_killed_server() {
    for system in System::ALL {
        let Some(server) = Server::start(system).await.unwrap() else {
            continue;
        };
        let database = server.database().await.unwrap();
        database.execute("CREATE TABLE words (word varchar(10))").await.unwrap();
        database.execute("INSERT INTO words VALUES ('kept')").await.unwrap();
        server.kill().unwrap();
        assert!(database.query("SELECT word FROM words").await.is_err(), "{system:?}");
        server.restart().unwrap();
        assert_eq!(database.query("SELECT word FROM words").await.unwrap(), [["kept"]], "{system:?}");
    }
}
