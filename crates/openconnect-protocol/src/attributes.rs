//! The rules for attribute names, and the names that belong to the mesh.

use crate::extension;

/// The context attributes that CloudEvents 1.0 defines; no extension may have one of these names, nor `data`.
pub const CORE: [&str; 8] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
];

/// Is this a valid extension name: 1 to 20 lower-case letters and digits, and none of the core names?
///
/// CloudEvents recommends the length; EventMesh's server refuses other characters. Longer names than 20 are taken on
/// receipt (see [`is_acceptable`]) because the mesh itself uses some.
pub fn is_valid_extension(name: &str) -> bool {
    name.len() <= 20 && is_acceptable(name)
}

/// May an event that came from elsewhere carry this extension name: lower-case letters and digits, at most 64?
pub fn is_acceptable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && name != "data"
        && !CORE.contains(&name)
}

/// Belongs this extension to the mesh rather than to the event? The runtime adds them, or they steer it (server side names:
/// `eventmesh-tcp.md` 6.3, `eventmesh-grpc.md` 3.1); they describe the hop, not the event, and are stripped on receipt.
pub fn is_mesh(name: &str) -> bool {
    // A pattern, not a list that is searched: this is asked for every member of every event.
    let added = matches!(
        name,
        "arrive99time"
            | "bizseqno"
            | "clienttype"
            | "cluster"
            | "consumergroup"
            | "contenttype"
            | "env"
            | "eventmeshsendbackip"
            | "eventmeshsendbacktimes"
            | "idc"
            | "ip"
            | "language"
            | "leave99time"
            | extension::ATTEMPT
            | extension::SEQ
            | "passwd"
            | "pid"
            | "producergroup"
            | "protocoldesc"
            | "protocoltype"
            | "protocolversion"
            | "req0group"
            | "req0idc"
            | "req0ip"
            | "req0sys"
            | "reqc2eventmeshtimestamp"
            | "reqeventmesh2ctimestamp"
            | "reqeventmesh2mqtimestamp"
            | "reqip"
            | "reqmq2eventmeshtimestamp"
            | "reqreceiveeventmeship"
            | "reqsendeventmeship"
            | "responsemessage"
            | "rsp0group"
            | "rsp0idc"
            | "rsp0ip"
            | "rsp0sys"
            | "rspc2eventmeshtimestamp"
            | "rspeventmesh2ctimestamp"
            | "rspeventmesh2mqtimestamp"
            | "rspmq2eventmeshtimestamp"
            | "rspreceiveeventmeship"
            | "rspsendeventmeship"
            | "seqnum"
            | "statuscode"
            | "store99time"
            | "submessagetype"
            | "sys"
            | "tag"
            | "ttl"
            | "uniqueid"
            | "url"
            | "username"
    );
    added || is_envelope(name)
}

/// The event's own subject, where the wire's subject is the topic.
pub const SUBJECT: &str = "ocsubject";
/// The event's own content type, where the wire has EventMesh's.
pub const CONTENT_TYPE: &str = "occontenttype";
/// How the data was put into the wire's JSON: see [`crate::wire`].
pub const ENCODING: &str = "ocencoding";
/// Prefix of a user's extension that has the name of one of the mesh's.
pub const ESCAPE: &str = "ocx";

/// Is this one of the names with which [`crate::wire`] keeps what the mesh would lose?
pub fn is_envelope(name: &str) -> bool {
    matches!(name, SUBJECT | CONTENT_TYPE | ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_mesh_are_known() {
        for (name, expected) in [("cluster", true), ("rsp0group", true), ("uniqueid", true), ("partitionkey", false)] {
            assert_eq!(is_mesh(name), expected, "{name}");
        }
    }
}
