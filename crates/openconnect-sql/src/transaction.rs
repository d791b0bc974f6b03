//! A transaction that is committed, or gone.

use openconnect_core::{Failure, FailureKind};

use crate::connection::Connection;

/// A transaction. Dropped without [`commit`](Self::commit), its connection is closed, and the database forgets it: whatever went
/// wrong, the next transaction begins on a connection that is sound.
#[derive(Debug)]
pub struct Transaction {
    connection: Connection,
    open: bool,
}

impl Transaction {
    /// Begins a transaction on the connection.
    pub(crate) async fn begin(connection: Connection, begin: &str) -> Result<Self, Failure> {
        let mut transaction = Self { connection, open: true };
        transaction.connection.run(begin).await?;
        Ok(transaction)
    }

    /// Its connection.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Everything is durable when this returns. After a failure it is not known whether it is.
    pub async fn commit(mut self) -> Result<(), Failure> {
        self.connection.run("COMMIT").await?;
        self.open = false;
        Ok(())
    }

    /// Undoes it and keeps the connection, where the database has just answered with a refusal. After anything else it is
    /// closed: after a disk error SQLite has rolled back by itself.
    pub async fn rollback(mut self, why: &Failure) {
        if why.kind == FailureKind::Permanent && self.connection.run("ROLLBACK").await.is_ok() {
            self.open = false;
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open {
            self.connection.close_on_drop();
        }
    }
}
