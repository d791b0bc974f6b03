//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_error::code_table! {
    /// The configuration of a Java connector cannot be imported.
    IMPORT_REFUSED = "OC0110",
    /// The state folder cannot be used.
    STATE_UNUSABLE = "OC0201",
    /// Another process uses the state folder.
    STATE_IN_USE = "OC0202",
    /// The state folder is corrupt.
    STATE_CORRUPT = "OC0203",
    /// The state is newer than this binary.
    STATE_TOO_NEW = "OC0204",
    /// The state folder belongs to another connector.
    STATE_OF_ANOTHER = "OC0205",
    /// The file of the offsets cannot be used.
    OFFSETS_UNUSABLE = "OC0210",
    /// A saved offset cannot be read.
    OFFSET_UNREADABLE = "OC0211",
    /// The database of the offsets cannot be used.
    OFFSETS_DATABASE = "OC0212",
    /// Another process has the lease.
    LEASE_TAKEN = "OC0213",
    /// Another process uses the offsets.
    OFFSETS_IN_USE = "OC0214",
    /// `state.offsets` cannot be used by this connector.
    OFFSETS_REFUSED = "OC0215",
    /// A source that reads from positions has no spool.
    SPOOL_REFUSED = "OC0217",
    /// The connector takes no topic as its input.
    INPUT_REFUSED = "OC0218",
    /// The connector needs a topic as its input.
    INPUT_MISSING = "OC0219",
    /// The inbox cannot be used.
    INBOX_UNUSABLE = "OC0230",
    /// The inbox cannot be read.
    INBOX_UNREADABLE = "OC0231",
    /// The checkpoint of the inbox is corrupt.
    CHECKPOINT_CORRUPT = "OC0232",
    /// The inbox cannot be written.
    INBOX_UNWRITABLE = "OC0233",
    /// The window of identities of the inbox is damaged.
    WINDOW_DAMAGED = "OC0234",
    /// The connector's store cannot be opened.
    STORE_UNAVAILABLE = "OC0240",
    /// The connector's store cannot be read or written at the moment.
    STORE_FAILED = "OC0241",
    /// An entry of the connector's store is too large.
    STORE_ENTRY_TOO_LARGE = "OC0242",
    /// The connector's store is full.
    STORE_FULL = "OC0243",
    /// The mesh client was closed.
    MESH_CLOSED = "OC0301",
    /// `mesh.url` is wrong.
    MESH_URL = "OC0302",
    /// The mesh cannot be reached.
    MESH_UNREACHABLE = "OC0303",
    /// TLS with the mesh failed.
    MESH_TLS = "OC0304",
    /// The mesh refused the session.
    SESSION_REFUSED = "OC0305",
    /// The session with the mesh broke.
    SESSION_BROKEN = "OC0306",
    /// The mesh refuses events for now.
    MESH_BUSY = "OC0307",
    /// The server sent the client away.
    SENT_AWAY = "OC0308",
    /// The server did not answer in time.
    NO_ANSWER = "OC0309",
    /// The event cannot be framed.
    EVENT_NOT_FRAMED = "OC0310",
    /// The event is too large for the mesh.
    TOO_LARGE_FOR_MESH = "OC0311",
    /// The mesh does not allow it.
    NOT_ALLOWED = "OC0312",
    /// The mesh cannot take the event.
    EVENT_REFUSED = "OC0313",
    /// The mesh refused the subscription.
    SUBSCRIPTION_REFUSED = "OC0314",
    /// The connector stopped before the event was delivered.
    STOPPED_FIRST = "OC0401",
    /// The event cannot be read.
    EVENT_UNREADABLE = "OC0402",
    /// The event is over the limit.
    EVENT_TOO_LARGE = "OC0403",
    /// An attribute of the event is invalid.
    EVENT_INVALID = "OC0404",
    /// The source left an event of its input.
    INPUT_LEFT = "OC0405",
    /// The source takes no more events of its input.
    INPUT_CLOSED = "OC0406",
    /// The required guarantee does not hold.
    GUARANTEE_MISSED = "OC0410",
    /// The ordering is weaker than the connector needs.
    ORDERING_TOO_WEAK = "OC0411",
    /// There are too many dead letters.
    TOO_MANY_DEAD_LETTERS = "OC0420",
    /// The connector cannot go on.
    CANNOT_CONTINUE = "OC0421",
    /// The dead-letter file cannot be used.
    DEAD_LETTERS_UNUSABLE = "OC0430",
    /// A dead letter cannot be written.
    DEAD_LETTER_UNWRITTEN = "OC0431",
    /// The replay queue cannot be used.
    REPLAY_UNUSABLE = "OC0432",
    /// There are too many dead letters for one command.
    TOO_MANY_TO_LIST = "OC0433",
    /// There is no such dead letter.
    NO_SUCH_DEAD_LETTER = "OC0434",
    /// A dead letter could not be published.
    DEAD_LETTER_UNPUBLISHED = "OC0435",
    /// The name of the group of an event is too long.
    GROUP_NAME_TOO_LONG = "OC0450",
    /// The target shows other events than were sealed.
    SEALED_DIFFERENTLY = "OC0451",
    /// A staging sink cannot write its files.
    STAGING_UNWRITTEN = "OC0452",
    /// The folder of a staging sink cannot be used.
    STAGING_FOLDER = "OC0453",
    /// A record of a staging sink is corrupt.
    STAGING_CORRUPT = "OC0454",
    /// The target refuses a group for good.
    GROUP_REFUSED = "OC0455",
    /// The sink answered for another number of events.
    WRONG_ANSWER_COUNT = "OC0491",
    /// A position cannot be stored.
    POSITION_UNSTORABLE = "OC0492",
    /// The admin server cannot listen.
    ADMIN_LISTEN = "OC0501",
    /// The process stopped at once, by a second signal.
    STOPPED_AT_ONCE = "OC0503",
    /// A sink has no offsets.
    SINK_HAS_NO_OFFSETS = "OC0505",
    /// The position is not JSON.
    POSITION_NOT_JSON = "OC0506",
    /// There is no such partition.
    NO_SUCH_PARTITION = "OC0507",
    /// No runtime can be started.
    NO_RUNTIME = "OC0509",
    /// There is nothing to drain.
    NOTHING_TO_DRAIN = "OC0510",
    /// The offsets of the system are in use.
    UPSTREAM_IN_USE = "OC0511",
    /// The connector has no commands for the offsets of the system.
    UPSTREAM_UNCHANGED = "OC0512",
}

/// What the targets of tests answer.
#[cfg(test)]
pub(crate) mod tests {
    openconnect_error::code_table! {
        /// The target does not take events for now.
        TARGET_BUSY,
        /// The target will never take this event.
        TARGET_REFUSES,
    }
}
